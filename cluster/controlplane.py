"""etcd, the API server and the controller manager: their certificates, files and command lines."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed

SERVICE_CIDR = "10.96.0.0/16"
SERVICE_CIDR_IPV6 = "fd00:10:96::/108"
SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc"
NODE_NAME = "node1"

# Who may act as whom is said by the subject: a group is an organisation, a user a common name.
IDENTITIES = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "node": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
    "proxy": "/CN=system:kube-proxy",
}
# One line for each request with who asked for what and the answer's status, no bodies: enough to see what a role is used for.
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where a control plane keeps its files and listens."""

    kube: Path
    directory: Path
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    bind_address: str
    service_cidr: str = SERVICE_CIDR

    @property
    def certificates(self) -> Path:
        """The directory of keys and certificates."""
        return self.directory / "certificates"

    @property
    def audit_log(self) -> Path:
        """JSON lines, one for each request."""
        return self.directory / "audit.log"

    @property
    def server(self) -> str:
        """The URL for clients on the same machine or in the same namespaces."""
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, identity: str) -> Path:
        """The client configuration of one of the IDENTITIES."""
        return self.directory / f"{identity}.kubeconfig"

    def write_files(self) -> None:
        """Make certificates and write what the components read."""
        self.certificates.mkdir(parents=True)
        names = "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
        requests = {"apiserver": f"/CN=kube-apiserver={names},IP:{self.address}", **IDENTITIES}
        command = [str(self.kube), "certificates", str(self.certificates), *(f"{name}={subject}" for name, subject in requests.items())]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise CommandFailed(f"Making certificates failed: {result.stderr.strip()}")
        for identity in IDENTITIES:
            text = render_kubeconfig(
                self.server,
                (self.certificates / "ca.crt").read_bytes(),
                (self.certificates / f"{identity}.crt").read_bytes(),
                (self.certificates / f"{identity}.key").read_bytes(),
            )
            self.kubeconfig(identity).write_text(text)
            self.kubeconfig(identity).chmod(0o600)
        (self.directory / "audit-policy.yaml").write_text(AUDIT_POLICY)

    def etcd(self) -> list[str]:
        """Everything is thrown away at the end, so nothing needs to reach the disk."""
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_peer_port}"
        return [
            *(str(self.kube), "etcd", f"--data-dir={self.directory}/etcd", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"),
        ]

    def apiserver(self) -> list[str]:
        """Authorization and admission as in a real cluster, Pod Security among them, and the owner references' as on OpenShift."""
        certificates = self.certificates
        return [
            *(str(self.kube), "apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", f"--secure-port={self.port}"),
            *(
                f"--bind-address={self.bind_address}",
                f"--advertise-address={self.address}",
                f"--service-cluster-ip-range={self.service_cidr}",
            ),
            # The default reconciler refuses to publish a loopback address as the endpoint of the kubernetes Service.
            *("--endpoint-reconciler-type=master-count", "--kubelet-preferred-address-types=InternalIP", "--allow-privileged"),
            *(
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
                f"--client-ca-file={certificates}/ca.crt",
            ),
            *(f"--tls-cert-file={certificates}/apiserver.crt", f"--tls-private-key-file={certificates}/apiserver.key"),
            *(f"--kubelet-client-certificate={certificates}/admin.crt", f"--kubelet-client-key={certificates}/admin.key"),
            *(f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}", f"--service-account-key-file={certificates}/service-account.pub"),
            f"--service-account-signing-key-file={certificates}/service-account.key",
            *(f"--audit-policy-file={self.directory}/audit-policy.yaml", f"--audit-log-path={self.audit_log}"),
        ]

    def controller_manager(self) -> list[str]:
        """Each controller acts with its own service account, so that RBAC holds for them as well."""
        return [
            *(str(self.kube), "controller-manager", f"--kubeconfig={self.kubeconfig('controller-manager')}", "--leader-elect=false"),
            *("--use-service-account-credentials", f"--root-ca-file={self.certificates}/ca.crt"),
            f"--service-account-private-key-file={self.certificates}/service-account.key",
            *("--bind-address=127.0.0.1", f"--secure-port={self.controller_manager_port}"),
            *("--kube-api-qps=200", "--kube-api-burst=400"),  # each controller; with 20 a thousand Deployments wait for minutes
        ]


def render_kubeconfig(server: str, ca: bytes, certificate: bytes, key: bytes) -> str:
    """Render a client configuration that needs no other file, as JSON, which is YAML."""

    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    name = "test"
    document: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded(ca)}}],
        "users": [{"name": name, "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}}],
    }
    return json.dumps(document, indent=2) + "\n"
