"""The chart, rendered and installed on a real API server: the CRD that it brings, the rights that it gives, what it says."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.support import OperatorProcess
from tests.support.apiserver import ApiServer
from tests.support.kubernetes import wait_until

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "dicom-operator"
CRD = yaml.safe_load((ROOT / "crds" / "dicomadapters.dicomadapter.io.yaml").read_text())
NAMESPACE = "imaging"
ADAPTERS = "dicomadapters.dicomadapter.io"
EXPORTS = "dicomexports.dicomadapter.io"
ALL = ["create", "delete", "get", "list", "patch", "watch"]
# What the operator does, and nothing more: a right that is added here is a right that a stolen token has.
RIGHTS = {
    ADAPTERS: ["list", "watch"],
    f"{ADAPTERS}/status": ["patch"],
    f"{ADAPTERS}/finalizers": ["update"],
    EXPORTS: ["list", "watch"],
    f"{EXPORTS}/status": ["patch"],
    f"{EXPORTS}/finalizers": ["update"],
    "deployments.apps": ALL,
    "statefulsets.apps": ALL,
    "services": ALL,
    "serviceaccounts": ALL,
    "configmaps": ALL,
    "networkpolicies.networking.k8s.io": ALL,
    "poddisruptionbudgets.policy": ALL,
    "pods": ["list", "watch"],
    "persistentvolumeclaims": ["list", "patch", "watch"],
    "events": ["create", "list", "patch"],
}


NOT_KNOWN_YET = "cannot find RESTMapping"
"""The plug-in that looks at owner references learns of a new kind some seconds after it is served."""


def helm(*arguments: str, server: ApiServer | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the helm that the cluster module builds; raises AssertionError with what it printed when it fails."""
    command = [sys.executable, "-m", "cluster", "helm", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=server.environment if server else None, capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"helm {' '.join(arguments)}: {done.stderr}"
    return done


def render(*arguments: str) -> dict[str, dict[str, Any]]:
    """What `helm template` makes, by kind and name."""
    text = helm("template", "dicom-operator", str(CHART), "--no-hooks", f"--namespace={NAMESPACE}", *arguments).stdout
    documents = [document for document in yaml.safe_load_all(text) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


def rights(role: dict[str, Any]) -> dict[str, list[str]]:
    """Verbs by resource of a role's rules, each resource named as RIGHTS does it."""
    found: dict[str, list[str]] = {}
    for rule in role["rules"]:
        for resource in rule["resources"]:
            plural, _, part = resource.partition("/")
            name = ".".join(filter(None, [plural, *rule["apiGroups"]])) + (f"/{part}" if part else "")
            assert name not in found
            found[name] = sorted(rule["verbs"])
    return found


def may(server: ApiServer, user: str, verb: str, resource: str) -> bool:
    """Whether the API server would let the user do that in the namespace `rad`."""
    resource, _, part = resource.partition("/")
    arguments = [verb, resource, *([f"--subresource={part}"] if part else []), "--namespace=rad", f"--as={user}"]
    answer: str = server.kubectl("auth", "can-i", *arguments, check=False).stdout
    return answer.strip() == "yes"


def listed(server: ApiServer, kinds: str, *arguments: str) -> list[str]:
    """The objects of these kinds, as `kind.group/name`."""
    names: str = server.kubectl("get", kinds, "--output=name", *arguments).stdout
    return names.split()


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """An API server with a namespace in which only restricted pods are admitted."""
    with ApiServer() as server:
        server.kubectl("create", "namespace", NAMESPACE)
        server.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        server.kubectl("create", "namespace", "rad")
        yield server


@pytest.fixture
def install(server) -> Iterator[Callable[..., str]]:
    """Installs the chart with these arguments and returns what helm printed; whatever the test did, the release is gone afterwards."""

    def work(*arguments: str) -> str:
        printed = helm("install", "dicom-operator", str(CHART), f"--namespace={NAMESPACE}", *arguments, server=server).stdout
        server.wait_served()
        return printed

    yield work
    helm("uninstall", "dicom-operator", f"--namespace={NAMESPACE}", "--ignore-not-found", server=server)


@pytest.fixture
def installed(install) -> str:
    """The chart with its default values, installed; what helm printed."""
    output: str = install()
    return output


def test_the_default_values_make_these_objects():
    assert set(render()) == {
        f"CustomResourceDefinition/{ADAPTERS}",
        f"CustomResourceDefinition/{EXPORTS}",
        "ServiceAccount/dicom-operator",
        "ClusterRole/dicom-operator",
        "ClusterRoleBinding/dicom-operator",
        "ClusterRole/dicom-operator-view",
        "ClusterRole/dicom-operator-edit",
        "Deployment/dicom-operator",
        "Service/dicom-operator-metrics",
        "NetworkPolicy/dicom-operator",
    }


@pytest.mark.parametrize("name", [ADAPTERS, EXPORTS])
def test_the_crd_of_the_chart_is_the_one_in_crds(name):
    crd = render()[f"CustomResourceDefinition/{name}"]
    assert crd["spec"] == yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text())["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in render("--set=crds.keep=false")[f"CustomResourceDefinition/{name}"]["metadata"]
    assert f"CustomResourceDefinition/{name}" not in render("--set=crds.enabled=false")


def test_the_operator_has_the_rights_that_it_uses_and_no_others():
    made = render()
    assert rights(made["ClusterRole/dicom-operator"]) == RIGHTS
    binding = made["ClusterRoleBinding/dicom-operator"]
    assert binding["roleRef"]["name"] == "dicom-operator"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dicom-operator", "namespace": NAMESPACE}]


def test_with_named_namespaces_it_has_them_there_only():
    text = helm(
        "template", "dicom-operator", str(CHART), "--no-hooks", f"--namespace={NAMESPACE}", "--set=watchNamespaces={rad,cardio}"
    ).stdout
    documents = [document for document in yaml.safe_load_all(text) if document]
    roles = [document for document in documents if document["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["rad", "cardio"]
    assert [rights(role) for role in roles] == [RIGHTS, RIGHTS]
    bindings = [document for document in documents if document["kind"] == "RoleBinding"]
    assert [(binding["metadata"]["namespace"], binding["subjects"][0]["namespace"]) for binding in bindings] == [
        ("rad", NAMESPACE),
        ("cardio", NAMESPACE),
    ]
    cluster_wide = sorted(document["metadata"]["name"] for document in documents if document["kind"].startswith("ClusterRole"))
    assert cluster_wide == ["dicom-operator-edit", "dicom-operator-view"]


def test_without_rbac_it_makes_no_role():
    assert [name for name in render("--set=rbac.create=false") if "Role" in name] == []


def test_the_values_reach_the_pod():
    sets = {
        "image.repository": "registry.example/op@sha256:1",
        "image.pullPolicy": "Always",
        "adapter.image.repository": "registry.example/ad",
        "adapter.image.tag": "v2",
        "adapter.allowedImages": "{registry.example/ad,registry.example/own}",
        "watchNamespaces": "{rad}",
        "logFormat": "text",
        "logLevel": "debug",
        "imagePullSecrets[0].name": "login",
        "nodeSelector.disk": "ssd",
        "tolerations[0].operator": "Exists",
        "priorityClassName": "high",
        "podAnnotations.note": "x",
        "podLabels.team": "radiology",
        "resources.limits.memory": "1Gi",
        "serviceAccount.name": "operator",
    }
    spec = render(*(f"--set={key}={value}" for key, value in sets.items()))["Deployment/dicom-operator"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/op@sha256:1"
    assert container["imagePullPolicy"] == "Always"
    assert container["args"] == [
        "--adapter-image=registry.example/ad:v2",
        "--allowed-image=registry.example/ad",
        "--allowed-image=registry.example/own",
        "--namespace=rad",
        f"--operator-namespace={NAMESPACE}",
        "--http-port=8080",
        "--log-format=text",
        "--log-level=debug",
    ]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    assert (pod["imagePullSecrets"], pod["nodeSelector"], pod["tolerations"]) == (
        [{"name": "login"}],
        {"disk": "ssd"},
        [{"operator": "Exists"}],
    )
    assert (pod["priorityClassName"], pod["serviceAccountName"]) == ("high", "operator")
    assert spec["template"]["metadata"]["annotations"] == {"note": "x"}
    assert spec["template"]["metadata"]["labels"]["team"] == "radiology"


def test_one_operator_at_a_time():
    spec = render()["Deployment/dicom-operator"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_services_and_policies_select_the_pod_whatever_the_release_is_called():
    text = helm("template", "abc", str(CHART), f"--namespace={NAMESPACE}").stdout
    made = {document["kind"]: document for document in yaml.safe_load_all(text) if document}
    assert made["Deployment"]["metadata"]["name"] == "abc-dicom-operator"
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        made["Deployment"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == {
            "app.kubernetes.io/name": "dicom-operator",
            "app.kubernetes.io/instance": "abc",
            "app.kubernetes.io/component": "operator",
        }
        assert selector.items() <= labels


def test_the_operator_reaches_dns_the_api_server_and_the_adapters():
    egress = render()["NetworkPolicy/dicom-operator"]["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in egress] == [[53, 53], [443, 6443], [8080]]
    assert egress[2]["to"] == [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "dicom-adapter"}}}]


def test_a_misspelt_value_is_refused():
    done = helm("template", "x", str(CHART), "--set=image.tga=1", check=False)
    assert done.returncode != 0
    assert "at '/image': additional properties 'tga' not allowed" in done.stderr


def test_it_packages_alone(tmp_path):
    helm("package", str(CHART), f"--destination={tmp_path}")
    made = helm("template", "x", str(tmp_path / "dicom-operator-0.1.0.tgz")).stdout
    assert "name: dicomadapters.dicomadapter.io" in made


def test_its_pod_is_admitted_where_only_restricted_ones_are(server, installed):
    wait_until("the pod was admitted", lambda: listed(server, "pods", f"--namespace={NAMESPACE}"))


def test_the_rights_are_those_in_effect(server, installed):
    account = f"system:serviceaccount:{NAMESPACE}:dicom-operator"
    for verb, resource in [("patch", "deployments.apps"), ("patch", f"{ADAPTERS}/status"), ("list", "pods")]:
        wait_until(f"it may {verb} {resource}", functools.partial(may, server, account, verb, resource))
    for verb, resource in [("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("patch", ADAPTERS)]:
        assert not may(server, account, verb, resource)


@pytest.mark.parametrize("namespaces", [(), ("rad",)], ids=["every namespace", "one namespace"])
def test_the_operator_does_its_work_with_these_rights(server, install, namespaces):
    install(f"--set-json=watchNamespaces={json.dumps(namespaces)}")
    environment = {**server.environment, "KUBECONFIG": str(server.kubeconfig_for("dicom-operator", NAMESPACE))}
    resource = yaml.safe_load((ROOT / "examples" / "dicomadapter.yaml").read_text())

    def made() -> set[str]:
        selector = "--selector=app.kubernetes.io/managed-by=dicom-operator"
        kinds = "serviceaccounts,configmaps,deployments,services,networkpolicies,poddisruptionbudgets"
        return {line.partition(".")[0].partition("/")[0] for line in listed(server, kinds, "--namespace=rad", selector)}

    with OperatorProcess(environment, tuple(f"--namespace={namespace}" for namespace in namespaces)) as operator:
        operator.wait_ready()
        for replicas, wanted in ((2, {"poddisruptionbudget"}), (1, set())):
            resource["spec"]["replicas"] = replicas
            server.kubectl("apply", "--namespace=rad", "--filename=-", input=json.dumps(resource))
            wanted |= {"serviceaccount", "configmap", "deployment", "service", "networkpolicy"}
            wait_until(f"what {replicas} replicas need", lambda wanted=wanted: made() == wanted, seconds=120)  # type: ignore[misc]
        server.kubectl("wait", "--for=condition=Applied", "dicomadapter/import", "--namespace=rad", "--timeout=60s")
    server.kubectl("delete", "dicomadapter", "import", "--namespace=rad")
    user = f"system:serviceaccount:{NAMESPACE}:dicom-operator"
    answers = [item for item in server.audited() if item["user"]["username"] == user and "responseStatus" in item]
    assert answers
    refused = [item for item in answers if item["responseStatus"]["code"] == 403 and NOT_KNOWN_YET not in item["responseStatus"]["message"]]
    assert [(item["verb"], item["requestURI"]) for item in refused] == []


def test_people_with_view_and_edit_see_and_edit_adapters(server, installed):
    for role in ("view", "edit"):
        server.kubectl("create", "rolebinding", f"a-{role}", f"--clusterrole={role}", f"--user=a-{role}", "--namespace=rad")
    for user, verb in (("a-view", "watch"), ("a-edit", "list"), ("a-edit", "create")):
        wait_until(f"{user} may {verb}", functools.partial(may, server, user, verb, ADAPTERS))
    wait_until("a-edit may scale", lambda: may(server, "a-edit", "patch", f"{ADAPTERS}/scale"))
    assert not may(server, "a-view", "create", ADAPTERS)
    assert not may(server, "a-edit", "patch", f"{ADAPTERS}/status")


def test_the_notes_tell_the_next_command_and_it_works(server, installed):
    assert "dicom-operator 0.1.0 serves DicomAdapters in every namespace." in installed
    command = textwrap.dedent(installed[installed.index("  kubectl apply -f - <<END") :].partition("\n\n")[0])
    done = subprocess.run(["bash", "-euc", command], env=server.environment, capture_output=True, text=True)
    assert done.stdout == "dicomadapter.dicomadapter.io/import created\n", done.stderr
    server.kubectl("delete", "dicomadapter", "import")


def test_uninstalling_keeps_the_crd_and_installing_again_takes_it_over(server, installed):
    server.kubectl("apply", "--filename=-", input=(ROOT / "examples" / "dicomadapter.yaml").read_text())
    helm("uninstall", "dicom-operator", f"--namespace={NAMESPACE}", server=server)
    assert server.kubectl("get", "dicomadapter", "import", "--output=name").stdout
    helm("install", "dicom-operator", str(CHART), f"--namespace={NAMESPACE}", server=server)
    helm("upgrade", "dicom-operator", str(CHART), f"--namespace={NAMESPACE}", "--set=crds.keep=false", server=server)
    helm("uninstall", "dicom-operator", f"--namespace={NAMESPACE}", server=server)
    wait_until("the CRD is gone", lambda: not listed(server, "crd"))
