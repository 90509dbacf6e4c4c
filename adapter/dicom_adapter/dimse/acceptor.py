"""An association that a peer has asked us for (PS3.8 7.1, PS3.7 D.3)."""

from dicom_adapter.dimse.associate import AssociateRequest
from dicom_adapter.dimse.association import Association, Connection
from dicom_adapter.dimse.deadlines import Due
from dicom_adapter.dimse.errors import AssociationAborted
from dicom_adapter.dimse.exchange import Exchange
from dicom_adapter.dimse.machine import AssociateIndication, Output
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    encode_acceptance,
    encode_rejection,
    negotiate,
    screen,
)
from dicom_adapter.dimse.observer import AssociationSummary, Peer
from dicom_adapter.dimse.pdu import AbortSource
from dicom_adapter.dimse.registry import Acceptor
from dicom_adapter.dimse.sopclasses import abstract_syntax_name
from dicom_adapter.dimse.states import State
from dicom_adapter.dimse.status import Status


class AcceptedAssociation(Association):
    """The side of a server."""

    def __init__(self, acceptor: Acceptor, connection: Connection, address: str, port: int) -> None:
        super().__init__(acceptor.limits, connection, draining_since=acceptor.registry.draining_since)
        self._acceptor = acceptor
        self._registry = acceptor.registry
        self._observer = acceptor.observer
        self._address, self._port = address, port
        self._peer: Peer | None = None
        self._id = 0
        self._accepted_at = 0.0
        self._received_bytes = 0
        self._finished = False

    # What the connection and the server call

    def start(self) -> None:
        """The connection is open."""
        self._registry.connections.add(self)
        self._carry_out(self._machine.connect())
        if self._registry.aborted:  # it was on its way in meanwhile
            self.shut_down()
        self._set_timer()

    def receive(self, data: memoryview) -> None:
        """Take bytes off the wire. What is kept of `data` is copied before this returns."""
        self._received_bytes += len(data)
        self._observer.bytes_received(len(data))
        super().receive(data)

    def drain(self) -> None:
        """The server takes no new associations: this one ends once it falls idle."""
        self._silence.draining_since = self._registry.draining_since
        self._set_timer()

    # What the machine says

    def _told(self, output: Output) -> None:
        if isinstance(output, AssociateIndication):  # all else is Foreign: told to the observer at the end, as what never was DICOM
            self._associate(output.request)

    def _associate(self, request: AssociateRequest) -> None:
        acceptor = self._acceptor
        peer = self._peer = Peer(request.calling_ae_title, request.called_ae_title, self._address, self._port)
        rejection = (
            screen(request, acceptor.ae_titles)
            or (acceptor.access(request, self._address) if acceptor.access is not None else None)
            or self._registry.refuse(peer)
        )
        if rejection is not None:
            self._carry_out(self._machine.reject(encode_rejection(rejection)))
            self._observer.association_rejected(peer, rejection)
            return
        served = acceptor.handlers.services()
        services = served & acceptor.permit(request) if acceptor.permit is not None else served
        agreement = negotiate(request, services, self._limits.max_operations, acceptor.extend, withheld=served - services)
        acceptance = encode_acceptance(request, agreement, self._limits.max_pdu_bytes)
        contexts = agreement.accepted()
        self._id = self._registry.enter(peer)
        self._accepted_at = self._loop.time()
        performed, invoked = agreement.asynchronous_operations or (1, 1)  # seen from the requestor it is the other way round
        self._exchange = Exchange(
            Negotiated(self._id, peer, contexts, request.maximum_length, invoked, performed, request.extended),
            acceptor.handlers.only(services),
            self._limits,
            report=self._report,
            refusing=lambda: self._registry.refusing,
            send=self._send_data,
            give_up=self._give_up,
            changed=self._changed,
            relieved=self._relieved,
        )
        self._carry_out(self._machine.accept(acceptance, frozenset(contexts)))
        self._observer.association_accepted(self._id, peer)
        unknown = [context.abstract_syntax for context in agreement.contexts if context.result == ABSTRACT_SYNTAX_NOT_SUPPORTED]
        for uid in dict.fromkeys([*unknown, *sorted(agreement.withheld)]):
            self._observer.context_refused(peer, uid, abstract_syntax_name(uid), withheld=uid in agreement.withheld)

    def _report(self, service: str, status: Status, seconds: float, sop_instance_uid: str | None) -> None:
        if self._peer is not None:
            self._observer.operation_ended(service, self._peer, status, seconds, sop_instance_uid)

    # How it ends

    def _settled(self) -> None:
        """Abort if the peer was turned away."""
        if self._exchange is not None and self._exchange.performer.turned_away and self._machine.state is State.STA6:
            self._abort(AbortSource.SERVICE_USER, AssociationAborted("shutting down"))

    def _finish(self) -> None:
        exchange = self._exchange
        if not self._lost or self._finished or (exchange is not None and exchange.working):
            return
        self._finished = True
        if exchange is not None and self._peer is not None:
            self._registry.leave(self._peer)
            seconds = self._loop.time() - self._accepted_at
            operations = dict(exchange.performer.counts)
            reason = "" if self._outcome == "released" else str(self._end)
            self._observer.association_ended(
                AssociationSummary(self._id, self._peer, self._outcome, reason, operations, self._received_bytes, seconds)
            )
        elif self._peer is None and not self._shut_down:
            self._observer.no_dicom(self._address)
        self._exchange = None  # it holds methods of ours: what has ended need not wait for the garbage collector
        self._registry.closed(self)

    def _sentence(self, due: Due) -> str:
        limits = self._limits
        match due:
            case Due.UNREAD:
                return f"it left our answers unread for {limits.dimse_timeout:g} s (spec.limits.dimseTimeoutSeconds)"
            case Due.STALLED:
                service = self._exchange.performer.receiving_service if self._exchange is not None else None
                what = f"{service}; nothing of it was stored" if service else "a message"
                return f"no data for {limits.dimse_timeout:g} s inside {what} (spec.limits.dimseTimeoutSeconds)"
            case Due.IDLE:
                return f"idle for {limits.idle_timeout:g} s (spec.limits.idleTimeoutSeconds)"
            case Due.DRAINED:
                return "idle while shutting down"
            case _:
                return f"no response for {limits.response_timeout:g} s to what we asked it"
