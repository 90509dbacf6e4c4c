"""What the status of a DicomExport has of its own: what the pods say of both sides and of what is under way. Pure."""

from __future__ import annotations

from collections.abc import Callable

from dicom_operator import messages
from dicom_operator.api import ConditionType, Json, Reason
from dicom_operator.model.export import DicomExport
from dicom_operator.observed import exporting
from dicom_operator.observed.exporting import ExportReport, Said
from dicom_operator.observed.objects import Observed
from dicom_operator.status.conditions import Condition, find
from dicom_operator.status.document import Parts, View, kept

GOOD = (Reason.REACHABLE, Reason.DELIVERING)


def export_parts(view: View[DicomExport], export: DicomExport | None, previous: Json) -> Parts:
    """Of a DicomExport: nothing but its pods makes it ready; each pod is believed, word for word."""
    observed = view.observed
    destination = export.destination if export else previous.get("destination", "")
    reports = observed.exports
    counts = exporting.summary(reports) if reports else {name: previous[name] for name in exporting.COUNTS if name in previous}
    told = (
        _condition(ConditionType.SOURCE_REACHABLE, observed, previous, lambda one: one.source),
        _condition(ConditionType.DESTINATION_REACHABLE, observed, previous, lambda one: one.destination),
        _condition(ConditionType.DELIVERING, observed, previous, lambda one: one.delivering),
    )
    return Parts(
        gates=(),
        told=[one for one in told if one],
        fields={**({"destination": destination} if destination else {}), **counts},
        ready=messages.export.ready(destination),
        suspended=messages.export.suspended(),
        scaled_to_zero=messages.export.scaled_to_zero(),
    )


def _condition(kind: ConditionType, observed: Observed, previous: Json, part: Callable[[ExportReport], Said]) -> Condition | None:
    """The worst that a pod says; silence is Unknown, never False, and until all have been asked it is what it was."""
    worst = exporting.worst if kind == ConditionType.DELIVERING else exporting.reach
    said = worst(part(report) for report in observed.exports)
    if said:
        status = "True" if said.reason in GOOD else "Unknown" if said.reason == Reason.NOT_PROBED else "False"
        return Condition(kind, status, said.reason, said.message)  # type: ignore[arg-type]
    old = find(previous, kind)
    if old and not observed.asked and old["reason"] in set(Reason):
        return kept(kind, old)
    return Condition(kind, "Unknown", Reason.NOT_PROBED, messages.export.not_probed()) if old else None
