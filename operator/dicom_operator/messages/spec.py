"""Fields of a DicomAdapter's spec that cannot work, and those that both kinds have."""

from __future__ import annotations

from collections.abc import Sequence


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
