"""A DicomExport: its spec and its status."""

from __future__ import annotations


def pubsub_or_poll() -> str:
    """No way to learn what has arrived, or two."""
    return "must have exactly one of `pubsub` and `poll`; write `pubsub` for a store that publishes, `poll` for one that does not"


def peer_or_dicomweb() -> str:
    """Nowhere to send to, or two places."""
    return "must have exactly one of `peer` and `dicomweb`; keep that of the place that images go to"


def reconcile_of_poll() -> str:
    """A search beside a search."""
    return "belongs to `pubsub`: `poll` sees everything; remove it"


def google_account() -> str:
    """Google's Pub/Sub without Google's credentials."""
    return "must be Google's for Pub/Sub; write `googleApplicationDefault` or `googleKeySecret`"


def subscription(value: str) -> str:
    """No subscription."""
    return f"{value[:100]!r} names no subscription; write 'projects/P/subscriptions/S'"


def topic(value: str) -> str:
    """No topic."""
    return f"{value[:100]!r} names no topic; write 'projects/P/topics/T'"


def endpoint() -> str:
    """No address of Pub/Sub."""
    return "must be an address of Pub/Sub; write 'https://HOST', or 'http://HOST:PORT' for an emulator"


def endpoint_in_the_clear() -> str:
    """Messages over plain HTTP."""
    return "must be true for an `endpoint` that is 'http://': messages cross the network in the clear; or write 'https://'"


def modality(value: object) -> str:
    """No modality."""
    return f"{value!r} is no modality; write its code, for example 'CT'"


def empty_filter() -> str:
    """A filter by nothing."""
    return "must have `modalities` or `attributes`; write one of them, or remove `filter`"


def dead_letter_of_poll() -> str:
    """A topic without Pub/Sub."""
    return "is a topic of Pub/Sub, which `source.poll` does without; remove it"


def ledger_needed() -> str:
    """A search that forgets."""
    return "is needed for `source.poll`: without it a pod that starts again sends everything in the window again"


def ledger_of_nothing() -> str:
    """A ledger that nobody writes."""
    return "is for `source.poll` and `source.reconcile`; remove it"


def one_searches() -> str:
    """Two that search the same store."""
    return "must be 0 or 1 with `source.poll` or `source.reconcile`: each replica would send what the others have sent; lower it"


# Status ----------------------------------------------------------------------------------------------------------------


def ready(destination: str) -> str:
    """It runs."""
    return f"what arrives is sent to {destination}"


def scaled_to_zero() -> str:
    """No replicas are wanted."""
    return "spec.replicas is 0: nothing is exported; set it to 1 or more"


def suspended() -> str:
    """spec.suspend."""
    return "spec.suspend is true: nothing is exported; set it to false to go on"


def resumed() -> str:
    """spec.suspend was taken back."""
    return "exporting goes on"


def not_probed() -> str:
    """No pod answers."""
    return "no pod tells of it"


def recovered(side: str) -> str:
    """A side answers again."""
    return f"the {side} can be reached again"
