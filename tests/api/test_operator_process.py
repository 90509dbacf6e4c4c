"""The operator as a process: idle, stopped, killed, half blind, and started where it cannot run."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom_operator.reconcile import UNSEEN_SECONDS
from tests.api.proxy import Proxy
from tests.api.support import IMAGE, OWNED, WRITES, Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until

Writes = Counter[tuple[str, str]]
"""By verb and resource."""


def audited_writes(api: Api) -> Writes:
    """What the API server itself says the operator has written."""
    agents = ("dicom-operator/", "kopf")
    return Counter(
        (event["verb"], "/".join(filter(None, (event["objectRef"]["resource"], event["objectRef"].get("subresource")))))
        for event in api.server.audited()
        if event["stage"] == "ResponseComplete" and event["verb"] in WRITES and event.get("userAgent", "").startswith(agents)
    )


@pytest.mark.slow
def test_twenty_idle_adapters_cause_no_write_in_a_minute_and_none_on_a_restart(api: Api, namespace: Namespace):
    names = [f"gate-{number}" for number in range(20)]
    earlier = audited_writes(api)
    with OperatorProcess(api.server.environment, ("--relist-seconds=5", "--probe-seconds=1")) as operator:
        operator.wait_ready()
        for name in names:
            namespace.adapter(name)
        for name in names:
            namespace.serve(name)
        writes, audited = settled(operator, api)
        assert audited - earlier == writes  # the two counts agree, so that either can be trusted
        time.sleep(60)  # the minute that is measured
        assert operator.writes() == writes
        assert audited_writes(api) == audited
        assert operator.http("/healthz") == (200, "ok")
        assert operator.resident_megabytes() < 150
        assert operator.stop() == 0
        operator.start()
        operator.wait_ready()
        wait_until("all looked at", lambda: operator.metric("dicom_operator_reconcile_total") >= 20)
        assert settled(operator, api) == (Counter(), audited)


def settled(operator: OperatorProcess, api: Api) -> tuple[Writes, Writes]:
    """What had been written, by both counts, when nothing had been for longer than a status may be held back."""
    found: list[tuple[float, Writes, Writes]] = []

    def quiet() -> bool:
        found.append((time.monotonic(), operator.writes(), audited_writes(api)))
        if found[-1][1:] != found[0][1:]:
            del found[:-1]
        return found[-1][0] - found[0][0] > UNSEEN_SECONDS and operator.metric("dicom_operator_queue_depth") == 0

    wait_until("nothing is written any more", quiet, seconds=180, every=1)
    return found[-1][1:]


@dataclass
class CrashPoint:
    """The n-th write is lost, as everything after it."""

    number: int
    seen: list[str] = field(default_factory=list)

    def refuse(self, method: str, path: str) -> int:
        if method == "PATCH":
            self.seen.append(path)
        return 503 if self.reached() else 0

    def reached(self) -> bool:
        return len(self.seen) >= self.number


def test_killed_in_the_middle_it_goes_on_where_it_stopped(api: Api, namespace: Namespace, tmp_path: Path):
    """Before each write of the first reconcile in turn the operator is killed; a new one ends with the same objects."""
    for number in range(1, 8):
        name = f"gate-{number}"
        with Proxy(api) as proxy:
            crash = CrashPoint(number)
            proxy.refuse = crash.refuse
            operator = OperatorProcess(proxy.environment(tmp_path))
            operator.start()
            operator.wait_ready()
            namespace.adapter(name)
            wait_until("the write came", crash.reached, every=0.005)
            operator.kill()
    with OperatorProcess(api.server.environment) as operator:
        operator.wait_ready()
        for number in range(1, 8):
            namespace.serve(f"gate-{number}")
            selector = f"app.kubernetes.io/instance=gate-{number},app.kubernetes.io/managed-by=dicom-operator"
            assert sum(len(namespace.all(plural, selector)) for plural in OWNED) == 6
            assert namespace.events("ChildRestored", f"gate-{number}") == []  # nobody had deleted anything


def test_a_deletion_that_the_watch_lost_is_found_by_the_next_listing(api: Api, namespace: Namespace, tmp_path: Path):
    with Proxy(api) as proxy:
        proxy.drop = lambda path, event: event["type"] == "DELETED" and event["object"]["metadata"]["namespace"] == namespace.name
        with OperatorProcess(proxy.environment(tmp_path), ("--relist-seconds=1",)) as operator:
            operator.wait_ready()
            namespace.adapter()
            namespace.serve()
            uid = namespace.get("services", "ct-east")["metadata"]["uid"]
            namespace.delete("services", "ct-east")
            namespace.wait_for("services", "ct-east", not_uid=uid)
            wait_until("the event was lost", lambda: [event["object"]["metadata"]["name"] for event in proxy.dropped] == ["ct-east"])


def test_an_api_server_that_fails_for_a_while(api: Api, namespace: Namespace, tmp_path: Path):
    with Proxy(api) as proxy, OperatorProcess(proxy.environment(tmp_path)) as operator:
        operator.wait_ready()
        proxy.refuse = lambda method, path: 503 if method == "PATCH" and path.endswith("/services/ct-east") else 0
        namespace.adapter()
        applied = namespace.wait_condition("Applied", "ApplyFailed")
        assert applied["message"] == "Service 'ct-east' could not be applied, it is tried again: refused with 503"
        assert namespace.condition("Reconciling")["reason"] == "ProgressingWithRetry"
        proxy.refuse = lambda method, path: 0
        namespace.serve()


def test_it_watches_only_its_namespaces(api: Api, namespace: Namespace):
    other = Namespace(api, f"{namespace.name}-other")
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.name}})
    with OperatorProcess(api.server.environment, (f"--namespace={namespace.name}",)) as operator:
        operator.wait_ready()
        other.adapter()
        namespace.adapter()
        namespace.serve()
        assert other.status() == {}
        requests = [event["requestURI"] for event in api.server.audited() if event.get("userAgent", "").startswith("dicom-operator/")]
        assert not [uri for uri in requests if other.name in uri]
    other.delete("dicomadapters", "ct-east")


def test_a_missing_crd(api: Api, tmp_path: Path):
    with Proxy(api) as proxy:
        proxy.refuse = lambda method, path: 404 if "dicomadapter.io" in path else 0
        operator = OperatorProcess(proxy.environment(tmp_path))
        operator.start()
        assert operator.wait_exit() == 1
        assert operator.messages() == [
            "the API server does not serve dicomadapters.dicomadapter.io/v1alpha1: "
            "install the CRD (`kubectl apply -f crds/`, or the Helm chart with crds.enabled) and start again"
        ]


def test_a_right_that_is_missing(api: Api, namespace: Namespace):
    api.create(namespace.path("serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "poor"}})
    kubeconfig = api.server.kubeconfig_for("poor", namespace.name)
    operator = OperatorProcess({**api.server.environment, "KUBECONFIG": str(kubeconfig)})
    operator.start()
    assert operator.wait_exit() == 1
    assert operator.messages() == ["the operator may not list dicomadapters.dicomadapter.io in all namespaces: upgrade its Helm release"]


def test_a_right_that_is_missing_for_one_child(api: Api, namespace: Namespace):
    api.create(namespace.path("serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}})
    everything = {"apiGroups": ["*"], "verbs": ["*"]}
    plurals = ["serviceaccounts", "configmaps", "deployments", "statefulsets", "services", "poddisruptionbudgets"]
    plurals += ["persistentvolumeclaims", "pods", "events"]
    rules = [
        {**everything, "resources": [*plurals, "dicomadapters", "dicomadapters/status", "dicomadapters/finalizers", "dicomexports"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["get", "list", "watch"]},
    ]
    root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace.name}"
    api.create(f"{root}/roles", {"metadata": {"name": "operator"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    api.create(f"{root}/rolebindings", {"metadata": {"name": "operator"}, "subjects": [subject], "roleRef": role})
    kubeconfig = api.server.kubeconfig_for("operator", namespace.name)
    environment = {**api.server.environment, "KUBECONFIG": str(kubeconfig)}
    with OperatorProcess(environment, (f"--namespace={namespace.name}",)) as operator:
        operator.wait_ready()  # a service account's token works for kopf and for us, and for nothing more than its rights
        namespace.adapter()
        ready = namespace.wait_condition("Ready", "Forbidden")
        sentence = f"the operator may not patch networkpolicies in namespace '{namespace.name}': upgrade its Helm release"
        assert ready["message"] == sentence
        assert namespace.get("services", "ct-east")
        wait_until("event", lambda: [item["message"] for item in namespace.events("ApplyRejected")] == [sentence])


def test_an_api_server_that_is_not_there_is_waited_for(api: Api, namespace: Namespace, tmp_path: Path):
    with Proxy(api) as proxy:
        environment = proxy.environment(tmp_path)
        proxy.refuse = lambda method, path: 503
        with OperatorProcess(environment) as operator:
            wait_until("told", lambda: operator.output())
            assert operator.http("/healthz")[0] == 200  # a restart would not help
            assert operator.http("/readyz")[0] == 503
            server = json.loads(Path(environment["KUBECONFIG"]).read_text())["clusters"][0]["cluster"]["server"]
            assert operator.messages() == [f"the API server at {server} is not ready (refused with 503); trying again every 2 s"]
            proxy.refuse = lambda method, path: 0
            operator.wait_ready()
            assert operator.messages()[1] == f"the API server at {server} answers"
            namespace.adapter()
            namespace.serve()


def test_credentials_that_are_refused(api: Api, tmp_path: Path):
    config = json.loads(api.server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "nonsense"}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    operator = OperatorProcess({**api.server.environment, "KUBECONFIG": str(kubeconfig)})
    operator.start()
    assert operator.wait_exit() == 1
    assert operator.messages() == [f"the API server at {api.server.server} does not accept the operator's credentials"]


def test_sigterm_while_it_waits_for_the_api_server(api: Api, tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cluster = {"name": "c", "cluster": {"server": address}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        config = {"current-context": "x", "contexts": [context], "clusters": [cluster], "users": [{"name": "u", "user": {}}]}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
        operator = OperatorProcess({**api.server.environment, "KUBECONFIG": str(kubeconfig)})
        operator.start()
        wait_until("told", lambda: operator.output())
        (message,) = operator.messages()
        assert message.startswith(f"the API server at {address} cannot be reached (")
        assert operator.stop() == 0


def test_a_port_that_is_taken(api: Api, tmp_path: Path):
    with OperatorProcess(api.server.environment) as first:
        first.wait_ready()
        second = OperatorProcess(api.server.environment, (f"--http-port={first.port}",))
        second.start()
        assert second.wait_exit() == 1
        (message,) = second.messages()
        assert message == (
            f"cannot listen on port {first.port} for /healthz, /readyz and /metrics (address already in use): "
            "choose another with --http-port"
        )


def test_no_cluster_to_talk_to(api: Api, tmp_path: Path):
    operator = OperatorProcess({**api.server.environment, "KUBECONFIG": "", "HOME": str(tmp_path)})
    operator.start()
    assert operator.wait_exit() == 1
    assert operator.messages() == ["no cluster to talk to: run it in a pod, or let KUBECONFIG name a kubeconfig file"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--adapter-image="], "argument --adapter-image: must not be empty; write the image of the adapter"),
        (["--adapter-imge=x", f"--adapter-image={IMAGE}"], "--adapter-imge: no such flag; did you mean --adapter-image?"),
        (["--namespace=Bad_Name"], "argument --namespace: 'Bad_Name' is no namespace; write lower-case letters, digits and '-'"),
        (["--http-port=99999"], "argument --http-port: '99999' is no port; write a number from 1 to 65535"),
    ],
)
def test_bad_flags(api: Api, arguments, line):
    operator = OperatorProcess(api.server.environment, tuple(arguments))
    operator.start()
    assert operator.wait_exit() == 2
    assert operator.output() == f"dicom-operator: {line}\n"
