"""The operator itself: how it starts, and which replica leads."""

from __future__ import annotations

# Leader ----------------------------------------------------------------------------------------------------------------


def leads(identity: str) -> str:
    """This replica works now."""
    return f"this replica, {identity}, leads: it works, the others stand by"


def leads_no_more(identity: str) -> str:
    """The Lease could not be renewed in time, or somebody else has it."""
    return f"this replica, {identity}, leads no more: it has lost the Lease and writes nothing"


def stands_by(holder: str) -> str:
    """Another replica works."""
    return f"this replica stands by: {holder} leads" if holder else "nobody leads"


def lease_unavailable(text: str) -> str:
    """The Lease cannot be read or written now."""
    return f"the Lease cannot be read or written ({text}); trying again every second"


def lease_not_released(text: str) -> str:
    """The process ends and the Lease stays."""
    return f"the Lease was not given back ({text or 'no answer'}): another replica waits until it expires"


# Start -----------------------------------------------------------------------------------------------------------------


def crd_missing(qualified: str) -> str:
    """The API server does not know our kind."""
    remedy = "install the CRD (`kubectl apply -f crds/`, or the Helm chart with crds.enabled) and start again"
    return f"the API server does not serve {qualified}/v1alpha1: {remedy}"


def list_forbidden(qualified: str, namespace: str) -> str:
    """RBAC does not let us list a kind."""
    return f"the operator may not list {qualified} {where(namespace)}: upgrade its Helm release"


def where(namespace: str) -> str:
    """A namespace, or all."""
    return f"in namespace '{namespace}'" if namespace else "in all namespaces"


def unauthorized(server: str) -> str:
    """The API server does not accept our credentials."""
    return f"the API server at {server} does not accept the operator's credentials"


def unreachable(server: str, text: str, seconds: float, *, answered: bool) -> str:
    """The API server gives no answer, or not yet; we wait for it."""
    return f"the API server at {server} {'is not ready' if answered else 'cannot be reached'} ({text}); trying again every {seconds:g} s"


def reachable_again(server: str) -> str:
    """The wait is over."""
    return f"the API server at {server} answers"


def no_credentials() -> str:
    """Neither in a pod nor a kubeconfig."""
    return "no cluster to talk to: run it in a pod, or let KUBECONFIG name a kubeconfig file"


def bad_kubeconfig(text: str) -> str:
    """The kubeconfig cannot be used."""
    return f"the kubeconfig cannot be used: {text}"


def http_port_taken(port: int, text: str) -> str:
    """Somebody listens on our port."""
    return f"cannot listen on port {port} for /healthz, /readyz and /metrics ({text}): choose another with --http-port"
