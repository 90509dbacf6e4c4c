"""A service account's token is renewed, and the old one ends: what the kubelet does to every pod, in seconds instead of hours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dicom_operator.apiserver import connection
from tests.api.faults.forked import ForkedOperator, run
from tests.api.faults.oracle import wait_right
from tests.api.support import Api, Namespace
from tests.support.kubernetes import wait_until

ACCOUNT = "operator"


def run_impatient(arguments: list[str], environment: Mapping[str, str], log: str) -> None:
    """The operator, which reads its credentials again all the time."""
    connection.REREAD_SECONDS = 0
    connection.KOPF_SECONDS = 1
    run(arguments, environment, log)


def grant(api: Api, namespace: Namespace) -> None:
    """A service account that may do everything in the namespace."""
    api.create(namespace.path("serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace.name}
    root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace.name}/rolebindings"
    api.create(root, {"metadata": {"name": ACCOUNT}, "subjects": [subject], "roleRef": role})


def issue(api: Api, namespace: Namespace, secret: str) -> str:
    """A token that is good for as long as a Secret is there."""
    bound = api.create(namespace.path("secrets"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}})
    reference = {"kind": "Secret", "apiVersion": "v1", "name": secret, "uid": bound["metadata"]["uid"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": reference}}
    return str(api.create(namespace.path("serviceaccounts", ACCOUNT, "token"), body)["status"]["token"])


def write(api: Api, path: Path, token: str) -> None:
    """A client configuration with the token, put into its place at once as the kubelet does it."""
    document = json.loads(api.server.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    path.with_suffix(".new").write_text(json.dumps(document))
    path.with_suffix(".new").replace(path)


def refused(api: Api, token: str) -> bool:
    """Whether the API server takes the token no more; it remembers for some seconds that it was good."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    return not api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"].get("authenticated")


def test_a_token_that_is_renewed_and_then_ends(api: Api, namespace: Namespace, tmp_path: Path):
    grant(api, namespace)
    first, second = issue(api, namespace, "first"), issue(api, namespace, "second")
    kubeconfig = tmp_path / "kubeconfig"
    write(api, kubeconfig, first)
    environment = {**api.server.environment, "KUBECONFIG": str(kubeconfig)}
    arguments = (f"--namespace={namespace.name}", "--relist-seconds=1")
    with ForkedOperator(environment, arguments, become=run_impatient) as operator:
        operator.wait_ready()
        namespace.adapter()
        wait_right(namespace)
        write(api, kubeconfig, second)
        namespace.delete("secrets", "first")
        wait_until("the first token is refused", lambda: refused(api, first))
        namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 104}})
        wait_right(namespace)
        namespace.delete("services", "ct-east")
        wait_right(namespace)
        assert operator.http("/healthz") == (200, "ok")
        assert operator.calm()
        assert operator.stop() == 0
