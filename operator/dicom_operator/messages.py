"""Every sentence that a user reads in conditions, events and startup errors. Tested verbatim.

A sentence says what is true and, where it is known, what to do. None holds a number that moves by itself (ages, counts,
rates): each change of a message is a write to the API server.
"""

from __future__ import annotations

from collections.abc import Sequence

# Spec ------------------------------------------------------------------------------------------------------------------


def invalid_spec(path: str, message: str) -> str:
    """A field that the API server let pass and that cannot work."""
    return f"{path}: {message}"


def required() -> str:
    """A required field is missing."""
    return "is required"


def must_be(what: str, value: object) -> str:
    """A field of the wrong shape."""
    return f"must be {what}, not {value!r}"


def ae_title(value: str) -> str:
    """An AE title outside PS3.5 6.2 (VR AE)."""
    return f"{value!r} is no AE title; write 1 to 16 printable ASCII characters without backslash and without spaces at the ends"


def one_of(names: Sequence[str], found: Sequence[str]) -> str:
    """Fields that exclude each other."""
    return f"has {' and '.join(f'`{name}`' for name in found)}; keep one of {', '.join(f'`{name}`' for name in names)}"


def insecure_credentials() -> str:
    """A token or password over plain HTTP."""
    return "a token or password must not go over 'http://'; write `dicomStore` with 'https://', or set `credentials.allowInsecure` to true"


def certificate_without_tls() -> str:
    """A client certificate for a store that speaks plain HTTP."""
    return "a client certificate is shown in TLS, which 'http://' has not; write `dicomStore` with 'https://', or remove it"


def proxy() -> str:
    """A proxy that is none."""
    return "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'"


def store_or_node() -> str:
    """A destination that is neither, or both."""
    return "must have either `dicomStore` or `aeTitle`, `host` and `port`; keep those of the place that it is"


def destination_twice(name: str) -> str:
    """Two destinations of one name."""
    return f"'{name}' is there twice; give each destination a name of its own"


def name_of_the_spool(name: str) -> str:
    """A destination that would have the directory of something else."""
    return f"'{name}' is a directory of the spool; choose another"


def unknown_destination(name: str, nearest: str) -> str:
    """A route to a destination that there is not."""
    return f"`{name}` is not in `spec.destinations`{nearest or '; add it there, or write dicomStore'}"


def unknown_keyword(name: str, nearest: str) -> str:
    """A route by an attribute that DICOM does not have."""
    return f"{name[:80]!r} is neither the keyword of an attribute nor its tag as ggggeeee{nearest}"


def grace_period(drain: int) -> str:
    """The grace period is shorter than the drain and the end of associations."""
    return f"must be at least `drainSeconds` + 10, that is {drain + 10}; raise it, or lower `drainSeconds`"


def no_services() -> str:
    """An empty list of services."""
    return "must not be empty; write at least one service, or leave it out for all"


def twice(name: str) -> str:
    """A name that must be unique."""
    return f"{name!r} is there twice; remove one"


def addresses_hidden() -> str:
    """Addresses of peers, behind a Service that hides them."""
    return "needs `service.externalTrafficPolicy` 'Local': 'Cluster' hides where a sender calls from; set it to 'Local'"


def host_and_port() -> str:
    """Half of a peer's address."""
    return "must have both `host` and `port`, or neither for a peer that is never called"


def not_a_host(value: str) -> str:
    """A host that is none."""
    return f"{value!r} is no host; write a name or an address, without scheme and port"


def not_a_network(value: object) -> str:
    """A source range that is no CIDR."""
    return f"{value!r} is no network in CIDR notation; write for example '10.20.0.0/16', a single address as '10.20.3.4/32'"


def image_not_allowed(image: str, allowed: Sequence[str]) -> str:
    """An image outside the operator's allow-list."""
    prefixes = " or ".join(f"'{prefix}'" for prefix in allowed)
    return f"'{image}' is not allowed; write an image that begins with {prefixes}, or have it allowed (chart value `adapter.allowedImages`)"


def store_scheme() -> str:
    """A store that is neither a Healthcare path nor an http(s) URL."""
    path = "'projects/P/locations/L/datasets/D/dicomStores/S'"
    return f"must be a Cloud Healthcare path {path} or a DICOMweb base URL that begins with 'https://' or 'http://'"


def store_path_incomplete() -> str:
    """A Healthcare path with parts missing or added."""
    return "the Cloud Healthcare path must be complete and nothing more: write 'projects/P/locations/L/datasets/D/dicomStores/S'"


def store_studies() -> str:
    """A store URL with the part that the adapter appends."""
    return "must not end with '/studies', which the adapter appends itself; leave '/studies' out"


def store_userinfo() -> str:
    """Credentials in the URL."""
    return "must not contain a user name or password; put them into a Secret and name it in `credentials.basicAuthSecret`"


def store_query() -> str:
    """A query or fragment in the URL."""
    return "must not have a query ('?') or a fragment ('#'); write only the base URL"


# Objects ---------------------------------------------------------------------------------------------------------------


def applied() -> str:
    """Every object is as the spec wants it."""
    return "all objects are as the spec wants them"


def not_yet_applied() -> str:
    """First visit."""
    return "the spec has not been applied yet"


def paused() -> str:
    """The annotation that pauses reconciling is set."""
    return "the annotation dicomadapter.io/reconcile is 'disabled': changes are not applied until it is removed"


def name_conflict(kind: str, name: str, owner: str = "DicomAdapter") -> str:
    """An object of the same name that is not ours."""
    return f"{kind} '{name}' exists and is not controlled by this {owner}; rename the {owner} or delete the {kind}"


def of_deleted(owner: str) -> str:
    """An object of a resource of the same name that was deleted just now."""
    return f"it belongs to a deleted {owner} of this name until Kubernetes' garbage collector removes it"


def forbidden(verb: str, plural: str, namespace: str) -> str:
    """A right that the operator lacks."""
    return f"the operator may not {verb} {plural} in namespace '{namespace}': upgrade its Helm release"


def rejected(kind: str, name: str, text: str) -> str:
    """The API server refuses an object."""
    return f"the API server refused {kind} '{name}': {text}"


def apply_failed(kind: str, name: str, text: str) -> str:
    """A request that failed and is repeated."""
    return f"{kind} '{name}' could not be applied, it is tried again: {text}"


def internal_error(error: str, owner: str = "DicomAdapter") -> str:
    """A defect of ours."""
    return f"the operator failed on this {owner} and tries again; its log has the details: {error}"


def child_recreated(kind: str, name: str) -> str:
    """Somebody deleted a child."""
    return f"{kind} '{name}' was deleted; made it again"


def child_corrected(kind: str, name: str, field: str) -> str:
    """Somebody changed a child."""
    return f"{kind} '{name}' was changed at {field}; put it back"


# Workload --------------------------------------------------------------------------------------------------------------


def replicas_ready(ready: int, wanted: int) -> str:
    """How far the pods are."""
    return f"{ready} of {wanted} replicas are ready"


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
