"""What is observed of an adapter: its pods, its address, its store, and what comes of them all."""

from __future__ import annotations

from dicom_operator.messages.counting import counted

# Workload --------------------------------------------------------------------------------------------------------------


def replicas_ready(ready: int, wanted: int) -> str:
    """How far the pods are."""
    return f"{ready} of {counted(wanted, 'replica')} {'is' if wanted == 1 else 'are'} ready"


def waiting_for_rollout(ready: int, wanted: int, detail: str = "") -> str:
    """Pods are being started or replaced."""
    return f"{replicas_ready(ready, wanted)}; {detail or 'waiting for the pods'}"


def new_replicas_starting() -> str:
    """Old pods serve while new ones start."""
    return "the new replicas are starting; the old ones serve until they are ready"


def old_replicas_leaving() -> str:
    """New pods serve, old ones still drain."""
    return "the new replicas are ready; the old ones finish their associations"


def workload_not_observed() -> str:
    """No Deployment yet."""
    return "the Deployment does not exist yet"


def not_applied(kind: str, owner: str = "DicomAdapter") -> str:
    """No Deployment or Service, and not because we are early; another's of the name may be there."""
    return f"this {owner} has no {kind}: condition Applied says why"


def scaled_to_zero() -> str:
    """No replicas are wanted."""
    return "spec.replicas is 0: nothing receives; set it to 1 or more"


def suspended() -> str:
    """spec.suspend."""
    return "spec.suspend is true: nothing receives; set it to false to go on"


def progress_deadline(seconds: int) -> str:
    """The rollout does not get on."""
    return f"the new pods did not become ready within {seconds} s; `kubectl describe pods` and `kubectl logs` show why"


def image_pull_failed(pod: str, image: str, text: str) -> str:
    """The kubelet cannot pull the image."""
    return f"pod {pod}: image '{image}': {text}"


def crash_looping(pod: str, exit_code: int, line: str) -> str:
    """The adapter ends again and again."""
    if not line:
        return f"pod {pod} ended with exit {exit_code} and said nothing; `kubectl logs --previous {pod}` may show more"
    return f"pod {pod} ended with exit {exit_code}; its last line: {line}"


def out_of_memory(pod: str, limit: str, lower: str = "spec.limits.maxAssociations") -> str:
    """The kernel killed the adapter."""
    at = f" of {limit}" if limit else ""
    return f"pod {pod} was killed at its memory limit{at}: raise spec.resources or lower {lower}"


def pod_waits(pod: str, reason: str, text: str) -> str:
    """The kubelet cannot start the container."""
    return f"pod {pod}: {reason}: {text}" if text else f"pod {pod}: {reason}"


# Address ---------------------------------------------------------------------------------------------------------------


def address_assigned(endpoint: str) -> str:
    """Senders can connect."""
    return f"senders reach it as {endpoint}"


def address_not_required(endpoint: str) -> str:
    """A ClusterIP has its address by itself."""
    return f"inside the cluster it is reached as {endpoint}"


def node_port(port: int) -> str:
    """A NodePort is reached at each node."""
    return f"it is reached at port {port} of every node"


def address_not_observed(name: str) -> str:
    """No Service yet."""
    return f"Service '{name}' does not exist yet"


def address_pending(name: str, event: str = "") -> str:
    """The cloud has not given an address yet; what it has told last."""
    if event:
        return f"Service '{name}' has no address yet; its last event: {event}"
    return f"Service '{name}' has no address yet; `kubectl describe service {name}` shows what its load balancer says"


def public_address(name: str, address: str) -> str:
    """The cloud gave an address of the internet."""
    return f"Service '{name}' got the public address {address}: set spec.service.provider, or allowPublicAddress if that is meant"


# Store -----------------------------------------------------------------------------------------------------------------


def store_not_probed() -> str:
    """No adapter pod answers."""
    return "no adapter pod tells whether the store can be reached"


def store_recovered() -> str:
    """The store answers again."""
    return "the store can be reached again"


# Summary ---------------------------------------------------------------------------------------------------------------


def ready(endpoint: str) -> str:
    """Images can be sent."""
    return f"images can be sent to {endpoint}"


def ready_at_nodes(ae_title: str, port: int) -> str:
    """Images can be sent to a node."""
    return f"images can be sent to {ae_title} at port {port} of every node"


def resumed() -> str:
    """spec.suspend was taken back."""
    return "receiving goes on"
