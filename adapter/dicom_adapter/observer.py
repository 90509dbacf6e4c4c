"""Turns what the DIMSE engine and the store service tell into metrics, log lines and /status."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from typing import Any

from dicom_adapter import messages
from dicom_adapter.config import ALL_SERVICES, ServiceName
from dicom_adapter.delivery.pipeline import Delivered
from dicom_adapter.delivery.target import DEFAULT_TARGET
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.dimse import AssociationSummary, NormalizedRequest, Peer, QueryRequest, Rejection, Status, StoreRequest
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.metrics import Metrics
from dicom_adapter.peers import service_of
from dicom_adapter.services.commitment.service import PUSH_MODEL_INSTANCE
from dicom_adapter.services.retrieval.retrieval import Tally
from dicom_adapter.state import LastError, NodeState

_CANCELLED = 0xFE00
_UID = re.compile(r"[0-9.]{1,64}")


class NodeObserver:
    """The `Observer` of the engine and the `report` of the store service."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        log: EventLog,
        state: NodeState,
        services: Collection[ServiceName] = ALL_SERVICES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._services = services
        self._metrics = metrics
        self._log = log
        self._state = state
        self._now = now
        self._reported: set[tuple[Peer, str]] = set()

    # -- the engine --------------------------------------------------------------------------------

    def association_accepted(self, association_id: int, peer: Peer) -> None:
        """Counted now; its line is written at its end."""
        self._metrics.associations.labels("accepted").inc()

    def association_rejected(self, peer: Peer, rejection: Rejection) -> None:
        """One line, with what to do."""
        self._metrics.associations.labels("rejected").inc()
        code = f"{rejection.result}/{rejection.source}/{rejection.reason}"
        address = peer.address if rejection.by_address else ""
        text = messages.refused(_ae(peer), rejection.result, rejection.source, rejection.reason, rejection.message, address)
        self._log.limited(Severity.WARNING, "AssociationRejected", text, peer=_ae(peer), address=peer.address, detail=code)

    def association_ended(self, summary: AssociationSummary) -> None:
        """One line per association; a second one when we have aborted it."""
        self._metrics.associations.labels(summary.outcome.replace(" ", "_")).inc()
        peer = summary.peer
        if peer is None:
            return
        self._reported = {entry for entry in self._reported if entry[0] != peer}
        fields: dict[str, Any] = {"association": summary.association_id, "peer": _ae(peer), "address": peer.address}
        if summary.outcome == "aborted":
            self._log.limited(
                Severity.WARNING, "AssociationAborted", messages.aborted(_ae(peer), summary.reason), detail=summary.reason, **fields
            )
        outcome = summary.outcome + (f" ({summary.reason})" if summary.reason and summary.outcome != "released" else "")
        text = messages.association_ended(_ae(peer), peer.address, outcome, summary.operations, summary.received_bytes, summary.seconds)
        fields["seconds"] = round(summary.seconds, 3)
        if any(service == "C-STORE" for service, _ in summary.operations):
            self._log.write(Severity.INFO, "AssociationEnded", text, **fields)
        else:  # a monitor's C-ECHO, or one who only breaks off: no image came to its end, and a flood of them must not fill a disk
            self._log.limited(Severity.INFO, "AssociationEnded", text, detail=summary.outcome, **fields)

    def context_refused(self, peer: Peer, abstract_syntax_uid: str, name: str, *, withheld: bool) -> None:
        """A service that is not ours, that is switched off, or that this peer may not have."""
        self._metrics.contexts_refused.inc()
        service = service_of(abstract_syntax_uid)
        off = service if service and service not in self._services else ""
        self._log.limited(
            Severity.WARNING if withheld else Severity.INFO,
            "ContextRefused",
            messages.context_withheld(_ae(peer), service or name) if withheld else messages.context_refused(_ae(peer), name, off=off),
            peer=_ae(peer),
            address=peer.address,
            detail=(service or name) if withheld else off or name,
            abstract_syntax_uid=_uid(abstract_syntax_uid),
        )

    def operation_ended(self, service: str, peer: Peer, status: Status, seconds: float, sop_instance_uid: str | None) -> None:
        """Counts it, and writes the line of a failure that the service has not reported itself."""
        self._metrics.operations.labels(service, f"{status.code:04X}").inc()
        self._metrics.operation_seconds.labels(service).observe(seconds)
        key = (peer, sop_instance_uid or "")
        if key in self._reported:
            self._reported.discard(key)
        elif status.code and status.code != _CANCELLED and status.code >> 12 != 0xB:
            text = messages.failed(service, _ae(peer), status.code, status.comment)
            self._failure(text, peer, status.code, sop_instance_uid, seconds=seconds)

    def no_dicom(self, address: str) -> None:
        """Said once a minute and address."""
        self._metrics.connections_without_dicom.inc()
        self._log.limited(Severity.INFO, "NoDicom", messages.no_dicom(address), peer="", address=address, detail=address)

    def bytes_received(self, count: int) -> None:
        """Counts them."""
        self._metrics.received_bytes.inc(count)

    # -- the client of the store -------------------------------------------------------------------

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts it."""
        self._metrics.request_ended(method, code, seconds)

    # -- the delivery ------------------------------------------------------------------------------

    def retried(self, reason: str) -> None:
        """Counts it."""
        self._metrics.retries.labels(reason).inc()

    def waited(self, seconds: float) -> None:
        """Counts it."""
        self._metrics.wait_seconds.observe(seconds)

    def conflict(self, action: str) -> None:
        """Counts it."""
        self._metrics.conflicts.labels(action).inc()

    def overwriting(self, sop_instance_uid: str, message: str, *, lost: bool = False) -> None:
        """A line each time."""
        severity = Severity.ERROR if lost else Severity.WARNING
        self._log.write(severity, "OverwriteFailed", message, sop_instance_uid=_uid(sop_instance_uid))

    def throttled(self, destination: str, rate: float) -> None:
        """A line for each halving, once a minute at most."""
        text = messages.throttled("the store" if destination == DEFAULT_TARGET else f"'{destination}'", rate)
        self._log.limited(Severity.WARNING, "Throttled", text, peer="", detail=destination, destination=destination)

    # -- the store service -------------------------------------------------------------------------

    def report(self, request: StoreRequest, delivered: Delivered) -> None:
        """The store's verdict on an instance: the whole story in one line, unless all went well."""
        verdict, peer, ae_title = delivered.verdict, request.peer, _ae(request.peer)
        if verdict.outcome is not Outcome.STORED:
            self._reported.add((peer, request.sop_instance_uid))
            if verdict.outcome is Outcome.INSTANCE_REFUSED and verdict.http_status is not None:
                text = messages.refused_for_good("C-STORE", ae_title, verdict.text)
            else:
                text = messages.failed("C-STORE", ae_title, verdict.status, verdict.text, unknown=verdict.unknown)
            self._failure(
                text,
                peer,
                verdict.status,
                request.sop_instance_uid,
                association=request.association_id,
                http_status=verdict.http_status,
                attempts=delivered.attempts,
                seconds=delivered.seconds,
            )
            return
        if verdict.remark:
            self._metrics.remarks.inc()
        if verdict.remark or verdict.status:
            text = (
                messages.stored_with_remark(ae_title, verdict.remark)
                if verdict.remark
                else messages.stored_with_warning(ae_title, verdict.status)
            )
            self._log.limited(
                Severity.WARNING,
                "StoredWithWarning",
                text,
                peer=ae_title,
                address=peer.address,
                detail=text,
                association=request.association_id,
                sop_instance_uid=_uid(request.sop_instance_uid),
                status=f"{verdict.status:04X}",
                http_status=verdict.http_status,
            )

    # -- C-MOVE and C-GET --------------------------------------------------------------------------

    def retrieval_refused(self, request: QueryRequest, status: Status, text: str) -> None:
        """Nothing is sent: the line says why."""
        self._reported.add((request.peer, ""))
        self._failure(text, request.peer, status.code, None, association=request.association_id)

    def retrieved(self, service: str, request: QueryRequest, to: str, tally: Tally, status: Status) -> None:
        """Counts what was sent, and writes the line of one of which not all has arrived, or not all as it was."""
        outcomes = {"completed": tally.completed, "warning": tally.warning, "failed": len(tally.failed)}
        for outcome, count in outcomes.items():
            self._metrics.sub_operations.labels(service, outcome).inc(count)
        why, total = tally.why, tally.sent + len(tally.failed) + len(tally.remaining)
        if why is not None and tally.failed:
            self._reported.add((request.peer, ""))
            text = messages.moved(service, _printable(to), tally.sent, total, why.text)
            self._failure(text, request.peer, status.code, None, association=request.association_id)
        elif why is not None and not tally.remaining:
            self._log.limited(
                Severity.WARNING,
                "RetrievedWithWarning",
                messages.moved_with_warnings(service, _printable(to), tally.warning, total),
                peer=_ae(request.peer),
                address=request.peer.address,
                detail=why.text,
                association=request.association_id,
                status=f"{status.code:04X}",
            )

    # -- storage commitment ------------------------------------------------------------------------

    def commitment_refused(self, request: NormalizedRequest, status: Status, text: str) -> None:
        """It is not taken up: the line says why."""
        self._reported.add((request.peer, PUSH_MODEL_INSTANCE if request.sop_instance_uid == PUSH_MODEL_INSTANCE else ""))
        self._failure(text, request.peer, status.code, None, association=request.association_id)

    def report_delayed(self, ae_title: str, where: str, why: str, *, tries: int, pause: float, until: float) -> None:
        """A line for each try."""
        text = messages.report_delayed(_printable(ae_title), where, why, tries=tries, pause=pause, until=until)
        self._report("delayed", Severity.WARNING, "ReportDelayed", text, ae_title)

    def verdict_delayed(self, ae_title: str, why: str, *, tries: int, pause: float, until: float) -> None:
        """A line for each try."""
        text = messages.verdict_delayed(_printable(ae_title), why, tries=tries, pause=pause, until=until)
        self._report("delayed", Severity.WARNING, "ReportDelayed", text, ae_title)

    def report_given_up(self, ae_title: str, where: str, why: str) -> None:
        """A line."""
        self._report("given_up", Severity.ERROR, "ReportGivenUp", messages.report_given_up(_printable(ae_title), where, why), ae_title)

    def reported(self, ae_title: str, stored: int, failed: int) -> None:
        """Counted."""
        self._metrics.commitment_reports.labels("delivered").inc()

    def _report(self, outcome: str, severity: Severity, event: str, text: str, ae_title: str) -> None:
        self._metrics.commitment_reports.labels(outcome).inc()
        self._state.last_error = LastError(self._now(), text)
        self._log.limited(severity, event, text, peer=_printable(ae_title), detail=text)

    def _failure(
        self, text: str, peer: Peer, status: int, sop_instance_uid: str | None, *, seconds: float | None = None, **fields: Any
    ) -> None:
        self._state.last_error = LastError(self._now(), text)
        self._log.limited(
            Severity.WARNING,
            "OperationFailed",
            text,
            peer=_ae(peer),
            address=peer.address,
            detail=f"{status:04X} {fields.get('http_status')}",
            sop_instance_uid=_uid(sop_instance_uid),
            status=f"{status:04X}",
            seconds=None if seconds is None else round(seconds, 3),
            **fields,
        )


def _ae(peer: Peer) -> str:
    """An AE title as a line of a log can hold it."""
    return _printable(peer.ae_title)


def _printable(ae_title: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in ae_title[:16].strip())


def _uid(text: str | None) -> str | None:
    """A UID, or nothing: no other text of a peer gets into a log."""
    return text if text and _UID.fullmatch(text) else None
