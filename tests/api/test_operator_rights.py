"""The rights that the chart grants are all that the operator needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from tests.api.support import Api, Namespace, OperatorProcess

ROOT = Path(__file__).resolve().parents[2]
RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def test_the_charts_rights_suffice(api: Api, namespace: Namespace):
    command = [sys.executable, "-m", "cluster", "helm", "template", "dicom-operator", "charts/dicom-operator"]
    rendered = subprocess.run([*command, "--namespace", namespace.name], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rights = [document for document in yaml.safe_load_all(rendered) if document and document["kind"] in RIGHTS]
    api.server.kubectl("apply", f"--namespace={namespace.name}", "--filename=-", input=yaml.safe_dump_all(rights))
    kubeconfig = api.server.kubeconfig_for("dicom-operator", namespace.name)
    with OperatorProcess({**api.server.environment, "KUBECONFIG": str(kubeconfig)}) as operator:
        operator.wait_ready()
        namespace.adapter(replicas=2)
        namespace.serve(count=2)
        namespace.change(replicas=1)  # prunes
        uid = namespace.get("services", "ct-east")["metadata"]["uid"]
        namespace.delete("services", "ct-east")  # restores, with an event
        namespace.wait_for("services", "ct-east", not_uid=uid)
        assert operator.metric("dicom_operator_api_requests_total", code="403") == 0
    user = f"system:serviceaccount:{namespace.name}:dicom-operator"
    answers = [event for event in api.server.audited() if event["user"].get("username") == user and event["stage"] == "ResponseComplete"]
    assert answers
    assert [event["requestURI"] for event in answers if event["responseStatus"]["code"] == 403] == []
