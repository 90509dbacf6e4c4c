"""Searching and retrieving: C-FIND, C-MOVE, C-GET."""

from __future__ import annotations

from dicom_adapter.messages.counting import counted

NO_LEVEL = "No QueryRetrieveLevel specified"
INVALID_LEVEL = "Invalid QueryRetrieveLevel specified"
UNREADABLE_IDENTIFIER = "Identifier unreadable"
BAD_META = "The store sends an instance without valid UIDs"
UNREACHABLE_PEER = {
    "refused": ("connection refused", "{where} refused the connection"),
    "silent": ("no answer", "{where} gives no answer: is the host down, or a firewall in the way?"),
    "dns": ("host name unknown", "'{host}' cannot be resolved: correct the host in spec.peers, or the cluster's DNS"),
    "network": ("not reachable", "{where} cannot be reached: is there a route?"),
}
"""What stands in the way to a peer: in an Error Comment, and in the log."""


def no_unique_key(keyword: str) -> str:
    """A retrieval without the key of its level."""
    return f"Unique key missing: {keyword}"


def not_one_value(keyword: str) -> str:
    """A retrieval with a pattern or list where one value has to be."""
    return f"{keyword} must be one value, without wildcards"


def no_uid(keyword: str) -> str:
    """A retrieval with something else than UIDs."""
    return f"{keyword} is no UID"


def too_many_instances(most: int) -> str:
    """A retrieval that cannot be counted."""
    return f"More than {most} images match: retrieve in parts"


def unknown_ae(ae_title: str) -> str:
    """Error Comment: nobody of this name is known."""
    return f"Unknown AET: {ae_title}"


def unknown_destination(service: str, calling: str, ae_title: str) -> str:
    """The same for the log."""
    return f"{service} from '{calling}' failed: '{ae_title}' is not in spec.peers; add it with host and port"


def moved(service: str, ae_title: str, sent: int, of: int, why: str) -> str:
    """A retrieval of which not all has arrived."""
    return f"{service} to '{ae_title}': {sent} of {of} sent: {why}"


def moved_with_warnings(service: str, ae_title: str, warnings: int, of: int) -> str:
    """All has arrived, some of it with a warning."""
    return f"{service} to '{ae_title}': {of} of {of} sent, {warnings} of them with a warning of the receiver"


def not_taken(ae_title: str, sop_class: str, syntax: str) -> str:
    """The receiver has not accepted it, nor an uncompressed transfer syntax."""
    return f"{ae_title} takes no {sop_class} in {syntax}"


def not_converted(ae_title: str, syntax: str, why: str) -> str:
    """The receiver takes it uncompressed only, and that it cannot become."""
    return f"{ae_title} takes no {syntax}: {why}"


def too_large(most: int) -> str:
    """An instance that will not be converted."""
    return f"more than {most >> 20} MiB, not converted"


def peer_rejects(ae_title: str, where: str, result: int, source: int, reason: int) -> str:
    """Error Comment: no association."""
    return f"{ae_title} at {where}: rejected {result}/{source}/{reason}"


def peer_lost(ae_title: str, where: str) -> str:
    """Error Comment: the association ended before the answer."""
    return f"{ae_title} at {where}: association lost"


def too_many_keys(maximum: int) -> str:
    """A query that would be a flood of searches."""
    return f"More than {maximum} keys in the identifier"


def too_many_values(maximum: int) -> str:
    """The same in one key."""
    return f"More than {maximum} values in one key"


def too_many_elements(maximum: int) -> str:
    """An identifier that is no list of keys any more."""
    return f"More than {maximum} elements in the identifier"


def identifier_too_long(maximum: int) -> str:
    """One that is longer than any list of UIDs that can be answered."""
    return f"Data set of more than {maximum} bytes"


def too_many_patterns(maximum: int) -> str:
    """The same of wildcards and ranges."""
    return f"More than {maximum} wildcards or ranges in one key"


def too_long_value(maximum: int) -> str:
    """A value that no attribute has that can be searched by."""
    return f"More than {maximum} characters in one value"


def more_matches(maximum: int) -> str:
    """A search with more results than spec.query.maxResults."""
    first = "it is" if maximum == 1 else "the first are"
    return f"More than {counted(maximum, 'match', 'matches')}, {first} sent; search narrower"
