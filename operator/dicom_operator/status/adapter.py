"""What the status of a DicomAdapter has of its own: its address, what the pods say of stores and spools. Pure."""

from __future__ import annotations

from dicom_operator import api, messages
from dicom_operator.api import ConditionType, Json, Reason
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.observed import backlog, destinations
from dicom_operator.observed.objects import Observed
from dicom_operator.status import conditions
from dicom_operator.status.address import Address, address, not_observed
from dicom_operator.status.conditions import Condition
from dicom_operator.status.document import Parts, View, kept

STORE_REASONS = frozenset({Reason.REACHABLE, Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.UNREACHABLE, Reason.THROTTLED})


def adapter_parts(view: View[DicomAdapter], adapter: DicomAdapter | None, previous: Json) -> Parts:
    """Of a DicomAdapter: its address, what the pods say of stores and spools."""
    reached, observed = _reached(view, adapter, previous), view.observed
    told = delivering(observed, previous)
    spool = backlog.summary(observed.spools) if observed.spools else previous.get("spool") if told else None
    fields = {"address": reached.host, "port": reached.port, "endpoint": reached.endpoint, "spool": spool}
    fields["destinations"] = _destinations(observed, adapter, previous)
    text = messages.ready(reached.endpoint) if reached.endpoint else reached.condition.message
    if adapter and not reached.endpoint:
        text = messages.ready_at_nodes(adapter.ae_title, reached.port)
    return Parts(
        gates=[reached.condition],
        told=[one for one in (store_reachable(observed, previous), told) if one],
        fields={key: value for key, value in fields.items() if value},
        ready=text,
        suspended=messages.suspended(),
        scaled_to_zero=messages.scaled_to_zero(),
    )


def _destinations(observed: Observed, adapter: DicomAdapter | None, previous: Json) -> list[Json]:
    """`status.destinations`; of a spec that cannot be read, what was told before."""
    before = previous.get("destinations") or []
    names = [one.name for one in adapter.destinations] if adapter else [one["name"] for one in before]
    reports = (report.destinations for pod in observed.pods if (report := observed.reports.get(pod["metadata"]["uid"])))
    return destinations.summary(reports, names, before)


def store_reachable(observed: Observed, previous: Json) -> Condition | None:
    """What the adapters found when they asked the store: the worst; None before the first answer. Silence is Unknown, never False.

    Before all have been asked it is what it was: a restart of the operator changes nothing.
    """
    answers = [answer for pod in observed.pods if (answer := observed.reports.get(pod["metadata"]["uid"]))]
    told = [answer for answer in answers if answer.store_reason in STORE_REASONS]
    bad = next((answer for answer in told if answer.store_reason != Reason.REACHABLE), None)
    if bad:
        return Condition(ConditionType.STORE_REACHABLE, "False", Reason(bad.store_reason), bad.store_message)
    if told:
        return Condition(ConditionType.STORE_REACHABLE, "True", Reason.REACHABLE, told[0].store_message)
    old = conditions.find(previous, ConditionType.STORE_REACHABLE)
    if old and not observed.asked and old["reason"] in STORE_REASONS:
        return kept(ConditionType.STORE_REACHABLE, old)
    if old:
        return Condition(ConditionType.STORE_REACHABLE, "Unknown", Reason.NOT_PROBED, messages.store_not_probed())
    return None


def delivering(observed: Observed, previous: Json) -> Condition | None:
    """What the pods say of their spools: the worst; None where there is no spool. As `store_reachable`, silence is Unknown."""
    if worst := backlog.worst(observed.spools):
        good = worst.reason == Reason.DELIVERING
        return Condition(ConditionType.DELIVERING, "True" if good else "False", worst.reason, worst.message)
    old = conditions.find(previous, ConditionType.DELIVERING)
    if old and not observed.asked and old["reason"] in backlog.REASONS:
        return kept(ConditionType.DELIVERING, old)
    if any(kind == api.STATEFUL_SET.kind for kind, _ in observed.children):
        return Condition(ConditionType.DELIVERING, "Unknown", Reason.NOT_PROBED, messages.delivery_not_probed())
    return None


def _reached(view: View[DicomAdapter], adapter: DicomAdapter | None, previous: Json) -> Address:
    if adapter is None:
        return _kept_address(previous)
    service = view.observed.child(api.SERVICE, adapter.key.name)
    if service is None and view.applied.status == "False":
        return not_observed(messages.not_applied(api.SERVICE.kind))
    return address(adapter, service, view.names, view.service_event)


def _kept_address(previous: Json) -> Address:
    """With a spec that cannot be read, or is not served, the address is the one told before."""
    old = conditions.find(previous, ConditionType.ADDRESS_ASSIGNED)
    if not old or old["reason"] not in set(Reason):  # another version of the operator may have other reasons
        return not_observed(messages.not_yet_applied())
    return Address(
        kept(ConditionType.ADDRESS_ASSIGNED, old), previous.get("address", ""), previous.get("port", 0), previous.get("endpoint", "")
    )
