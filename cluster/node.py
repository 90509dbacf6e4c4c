"""The node's side of the cluster: what each component reads and how it is called. Pure: text in, text out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.controlplane import NODE_NAME, ControlPlane
from cluster.packages import CNI_PLUGINS, DICOMWEB_PLUGIN

NODE_ADDRESS = "10.10.0.1"
NODE_PREFIX = 24
LOAD_BALANCER_ADDRESSES = "10.10.0.100-10.10.0.199"
POD_CIDR = "10.244.0.0/24"
CLUSTER_DOMAIN = "cluster.local"
HOSTS = ("orthanc.test", NODE_NAME)
ORTHANC_PORT = 8042
LOAD_BALANCER_HEALTH = "127.0.0.1:10260"
# In the cluster's own /run: a path of the state directory may be longer than the 107 bytes that a socket's may have.
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
KUBELET_ROOT = Path("/var/lib/kubelet")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The directories of what was built, and the archive of the sandbox image."""

    kube: Path
    coredns: Path
    helm: Path
    pause: Path

    @property
    def search_path(self) -> str:
        """The kubectl and helm of the very versions that the cluster is tested with, to put before PATH."""
        return f"{self.kube}:{self.helm}"


def control_plane(binaries: Binaries, directory: Path) -> ControlPlane:
    """Place the control plane on the node; every cluster has its own network, so the ports are the usual ones."""
    return ControlPlane(
        kube=binaries.kube / "kube",
        directory=directory,
        address=NODE_ADDRESS,
        bind_address="0.0.0.0",
        port=6443,
        etcd_port=2379,
        etcd_peer_port=2380,
        controller_manager_port=10257,
    )


@dataclass(frozen=True, slots=True)
class Node:
    """A node: the programs that it runs and where its files are."""

    binaries: Binaries
    directory: Path
    pause_image: str

    @property
    def plane(self) -> ControlPlane:
        """The control plane that it belongs to."""
        return control_plane(self.binaries, self.directory)

    def files(self) -> dict[str, str]:
        """Render the configuration of each component, by file name."""
        return {
            "containerd.toml": self.containerd(),
            "cni/10-pods.conflist": json.dumps(pod_network(self.directory), indent=2),
            "kubelet.yaml": json.dumps(self.kubelet(), indent=2),
            "proxy.yaml": json.dumps(self.proxy(), indent=2),
            "Corefile": self.corefile(),
            "orthanc.json": json.dumps(orthanc(self.directory), indent=2),
            "resolv.conf": f"nameserver {NODE_ADDRESS}\n",
        }

    def containerd(self) -> str:
        """The machine may be a container itself: what needs its permission is left alone."""
        return f"""\
version = 2
root = "{self.directory}/containerd"
state = "/run/containerd/state"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self.pause_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{self.directory}/cni"
"""

    def kubelet(self) -> dict[str, object]:
        """No cgroups of its own beside those of the containers, no eviction: the machine is used for other things as well."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": f"{self.plane.certificates}/ca.crt"},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
            "imageGCHighThresholdPercent": 100,
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": CLUSTER_DOMAIN,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            # A changed Secret is in the pods after at most this long; by default it is a minute.
            "syncFrequency": "10s",
        }

    def proxy(self) -> dict[str, object]:
        """The conntrack limits are the machine's, not ours to change."""
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": NODE_NAME,
            "clusterCIDR": POD_CIDR,
            "clientConnection": {"kubeconfig": str(self.plane.kubeconfig("admin"))},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
            "iptables": {"minSyncPeriod": "100ms"},
            "bindAddress": "0.0.0.0",
        }

    def corefile(self) -> str:
        """There is nowhere to forward to: every other name does not exist, and says so at once."""
        return f"""\
{CLUSTER_DOMAIN} in-addr.arpa {{
  bind {NODE_ADDRESS}
  errors
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    kubeconfig {self.plane.kubeconfig("admin")}
    pods insecure
    ttl 1
  }}
}}
{" ".join(HOSTS)} {{
  bind {NODE_ADDRESS}
  errors
  hosts {{
    {NODE_ADDRESS} {" ".join(HOSTS)}
  }}
}}
. {{
  bind {NODE_ADDRESS}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""

    def commands(self) -> dict[str, list[str]]:
        """Render the command line of each component, by name."""
        kube, directory, plane = str(self.binaries.kube / "kube"), self.directory, self.plane
        return {
            "containerd": ["containerd", f"--config={directory}/containerd.toml"],
            "orthanc": ["Orthanc", f"{directory}/orthanc.json"],
            "etcd": plane.etcd(),
            "apiserver": plane.apiserver(),
            "controller-manager": plane.controller_manager(),
            "scheduler": [
                *(kube, "scheduler", f"--kubeconfig={plane.kubeconfig('scheduler')}", "--leader-elect=false", "--bind-address=127.0.0.1")
            ],
            "kubelet": [
                *(kube, "kubelet", f"--config={directory}/kubelet.yaml", f"--kubeconfig={plane.kubeconfig('node')}"),
                *(f"--root-dir={KUBELET_ROOT}", f"--cert-dir={directory}/kubelet-certificates"),
                *(f"--hostname-override={NODE_NAME}", f"--node-ip={NODE_ADDRESS}"),
            ],
            "proxy": [kube, "proxy", f"--config={directory}/proxy.yaml"],
            "coredns": [str(self.binaries.coredns / "coredns"), "-conf", f"{directory}/Corefile"],
            "loadbalancer": [
                *(kube, "loadbalancer", f"--kubeconfig={plane.kubeconfig('admin')}"),
                *(f"--addresses={LOAD_BALANCER_ADDRESSES}", f"--healthz={LOAD_BALANCER_HEALTH}"),
            ],
        }


def pod_network(directory: Path) -> dict[str, object]:
    """A routed pair of interfaces per pod.

    On a bridge the answer of a pod to its neighbour would go past the node, which then could not undo the translation of a Service address.
    """
    ranges = [[{"subnet": POD_CIDR}]]
    ipam = {"type": "host-local", "dataDir": f"{directory}/addresses", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def orthanc(directory: Path) -> dict[str, object]:
    """A DICOMweb store that takes whatever it is sent and keeps it as it is."""
    return {
        "Name": "test",
        "StorageDirectory": f"{directory}/orthanc",
        "IndexDirectory": f"{directory}/orthanc",
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": ORTHANC_PORT,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": 4242,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "StorageCompression": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
    }
