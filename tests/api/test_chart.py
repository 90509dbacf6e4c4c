"""The chart with values other than its defaults, upgraded, rolled back, and twice in one cluster."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.rights import ROOT, granted, rendered
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until

CHART = ROOT / "charts" / "dicom-operator"
PREVIOUS = Path(__file__).with_name("previous")
CRD = "dicomadapters.dicomadapter.io"
EXPORTS = "dicomexports.dicomadapter.io"
HA = "--set=replicas=2"


def made(*arguments: str) -> dict[str, dict[str, Any]]:
    """What the chart makes in `dicom-system`, by kind and name."""
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in rendered("dicom-system", *arguments)}


def helm(api: Api, *arguments: str) -> str:
    command = [sys.executable, "-m", "cluster", "helm", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=api.server.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_replicas_elect_a_leader_and_roll_without_a_gap():
    objects = made(HA)
    spec = objects["Deployment/dicom-operator"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (2, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    pod = spec["template"]["spec"]
    assert "--lease=dicom-operator" in pod["containers"][0]["args"]
    assert [(one["topologyKey"], one["whenUnsatisfiable"]) for one in pod["topologySpreadConstraints"]] == [
        ("kubernetes.io/hostname", "ScheduleAnyway"),
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
    ]
    selector = spec["selector"]["matchLabels"]
    assert all(one["labelSelector"]["matchLabels"] == selector for one in pod["topologySpreadConstraints"])
    budget = objects["PodDisruptionBudget/dicom-operator"]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": selector}}
    leases = {(right.verb, right.namespace) for right in granted(objects.values()) if right.resource == "leases.coordination.k8s.io"}
    assert leases == {(verb, "dicom-system") for verb in ("create", "get", "update", "watch")}
    rules = objects["Role/dicom-operator-leader"]["rules"]
    assert [rule.get("resourceNames") for rule in rules] == [None, ["dicom-operator"]]  # a create names nothing yet


def test_one_replica_needs_none_of_it():
    objects = made()
    assert not [name for name in objects if name.startswith(("PodDisruptionBudget/", "Role/", "RoleBinding/"))]
    pod = objects["Deployment/dicom-operator"]["spec"]["template"]["spec"]
    assert not [argument for argument in pod["containers"][0]["args"] if argument.startswith("--lease")]
    assert "topologySpreadConstraints" not in pod
    own = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    pod = made(HA, f"--set-json=topologySpreadConstraints={json.dumps(own)}")["Deployment/dicom-operator"]["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == own


def test_prometheus_gets_what_it_is_asked_for_and_nothing_by_default():
    assert not [name for name in made() if name.startswith(("ServiceMonitor/", "PodMonitor/", "PrometheusRule/"))]
    metrics = {name: {"enabled": True, "labels": {"release": "prometheus"}} for name in ("serviceMonitor", "podMonitor", "prometheusRule")}
    values = [f"--set-json=metrics={json.dumps(metrics)}"]
    objects = made(*values)
    monitor = objects["ServiceMonitor/dicom-operator"]
    service = objects["Service/dicom-operator-metrics"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    adapters = objects["PodMonitor/dicom-operator-adapters"]["spec"]
    assert adapters["namespaceSelector"] == {"any": True}
    (group,) = objects["PrometheusRule/dicom-operator"]["spec"]["groups"]
    assert group["rules"][0]["expr"] == 'absent(dicom_operator_build_info{namespace="dicom-system",service="dicom-operator-metrics"})'
    assert group["rules"][0]["annotations"]["runbook"] == "docs/operations.md, DicomOperatorDown"
    summary = next(rule for rule in group["rules"] if rule["alert"] == "DicomAdapterNotReady")["annotations"]["summary"]
    assert summary == "DicomAdapter {{ $labels.namespace }}/{{ $labels.name }} is not ready: {{ $labels.reason }}"
    objects = made(*values, "--set=metrics.prometheusRule.runbookUrl=https://docs.example/operations.md", "--set=watchNamespaces={rad}")
    (group,) = objects["PrometheusRule/dicom-operator"]["spec"]["groups"]
    assert group["rules"][0]["annotations"]["runbook_url"] == "https://docs.example/operations.md#dicomoperatordown"
    assert objects["PodMonitor/dicom-operator-adapters"]["spec"]["namespaceSelector"] == {"matchNames": ["rad"]}


def test_a_service_monitor_without_a_service_is_refused():
    with pytest.raises(subprocess.CalledProcessError) as refused:
        made("--set=metrics.serviceMonitor.enabled=true,metrics.service.enabled=false")
    assert "metrics.serviceMonitor.enabled needs metrics.service.enabled: a ServiceMonitor reads a Service" in refused.value.stderr


def test_the_plain_manifests_are_what_the_chart_makes_and_can_be_applied(api: Api):
    done = subprocess.run([sys.executable, "charts/manifests.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made_by_kustomize = list(yaml.safe_load_all(api.server.kubectl("kustomize", str(ROOT / "manifests")).stdout))
    (deployment,) = (document for document in made_by_kustomize if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container == made()["Deployment/dicom-operator"]["spec"]["template"]["spec"]["containers"][0]
    assert granted(made_by_kustomize) == granted(made().values())
    api.server.kubectl("apply", "--kustomize", str(ROOT / "manifests"))
    assert api.get("/apis/apps/v1/namespaces/dicom-system/deployments/dicom-operator")
    api.server.kubectl("delete", "--wait=false", "--kustomize", str(ROOT / "manifests"))


@pytest.fixture
def crd(api: Api) -> Iterator[None]:
    """Takes the CRDs out of the way, for a release to bring them; afterwards they are there again, and nobody's."""
    api.server.kubectl("delete", "crd", CRD, EXPORTS)
    yield
    api.server.kubectl("delete", "crd", CRD, EXPORTS, "--ignore-not-found")
    api.server.install_crds()


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart of the release before this one, whose CRD does not know `suspend` yet, and which has none of exporters."""
    chart = tmp_path / "previous"
    shutil.copytree(PREVIOUS, chart)
    (old,) = (document for document in rendered("x") if document["metadata"]["name"] == CRD)
    old = copy.deepcopy(old)
    del old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    text = json.dumps(old).replace("{{", "{{ `{{` }}")
    (chart / "templates" / "crd.yaml").write_text(text)
    return chart


def knows_suspend(api: Api) -> bool:
    schema = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}")["spec"]["versions"][0]["schema"]
    return "suspend" in schema["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_an_upgrade_brings_the_new_crd_and_a_rollback_the_old_one_and_no_adapter_is_lost(
    api: Api, namespace: Namespace, crd: None, previous: Path
):
    where = f"--namespace={namespace.name}"
    helm(api, "install", "dicom-operator", str(previous), where)
    api.server.wait_served(CRD)
    assert not knows_suspend(api)
    uid = namespace.adapter()["metadata"]["uid"]
    helm(api, "upgrade", "dicom-operator", str(CHART), where, HA)
    assert knows_suspend(api)
    api.server.wait_served(EXPORTS)
    deployment = namespace.get("deployments", "dicom-operator")
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    assert deployment["spec"]["replicas"] == 2
    kubeconfig = api.server.kubeconfig_for("dicom-operator", namespace.name)
    flags = (f"--operator-namespace={namespace.name}", "--lease=dicom-operator")
    with OperatorProcess({**api.server.environment, "KUBECONFIG": str(kubeconfig)}, flags) as operator:
        operator.wait_ready()
        namespace.serve()
        there = f"{namespace.path('dicomadapters', 'ct-east')}?dryRun=All"
        wait_until("the new schema is served", lambda: "suspend" in api.patch(there, {"spec": {"suspend": True}})["spec"])
        namespace.change(suspend=True)
        helm(api, "upgrade", "dicom-operator", str(CHART), where, "--set=replicas=1")
        deployment = namespace.get("deployments", "dicom-operator")
        assert (deployment["spec"]["strategy"], deployment["spec"]["replicas"]) == ({"type": "Recreate"}, 1)
    helm(api, "rollback", "dicom-operator", "1", where)
    wait_until("the old CRD", lambda: not knows_suspend(api))
    wait_until("its schema is served", lambda: "suspend" not in namespace.get("dicomadapters", "ct-east")["spec"])
    assert namespace.get("dicomadapters", "ct-east")["metadata"]["uid"] == uid
    helm(api, "upgrade", "dicom-operator", str(CHART), where)
    wait_until("nobody has written it meanwhile, so it is back", lambda: namespace.get("dicomadapters", "ct-east")["spec"].get("suspend"))
    helm(api, "uninstall", "dicom-operator", where)
    assert namespace.get("dicomadapters", "ct-east")["metadata"]["uid"] == uid  # with the CRD, which is kept


def test_two_releases_side_by_side_each_serve_their_own_namespace(api: Api, namespace: Namespace, crd: None):
    other = Namespace(api, f"{namespace.name}-b")
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.name}})
    with contextlib.ExitStack() as stack:
        for each, more in ((namespace, ()), (other, ("--set=crds.enabled=false",))):
            arguments = [f"--namespace={each.name}", f"--set=watchNamespaces={{{each.name}}}", HA, *more]
            helm(api, "install", f"op-{each.name}", str(CHART), *arguments)
            stack.callback(helm, api, "uninstall", f"op-{each.name}", f"--namespace={each.name}")
            api.server.wait_served(CRD, EXPORTS)
            name = f"op-{each.name}-dicom-operator"
            environment = {**api.server.environment, "KUBECONFIG": str(api.server.kubeconfig_for(name, each.name))}
            flags = (f"--namespace={each.name}", f"--operator-namespace={each.name}", f"--lease={name}")
            stack.enter_context(OperatorProcess(environment, flags)).wait_ready()
        for each in (namespace, other):
            each.adapter()
            each.serve()
            account = f"system:serviceaccount:{each.name}:op-{each.name}-dicom-operator"
            wrote = {
                event["objectRef"]["namespace"]
                for event in api.server.audited()
                if event["user"].get("username") == account and event["verb"] not in ("get", "list", "watch")
            }
            assert wrote == {each.name}
        other.delete("dicomadapters", "ct-east")
