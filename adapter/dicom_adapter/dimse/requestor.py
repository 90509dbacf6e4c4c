"""An association that we ask a peer for (PS3.8 7.1, 7.2)."""

import asyncio
from dataclasses import dataclass
from typing import Final

from dicom_adapter.dimse.associate import AssociateAcceptance, AssociateRequest
from dicom_adapter.dimse.association import FLUSH_SECONDS, Association, Connection
from dicom_adapter.dimse.deadlines import Due
from dicom_adapter.dimse.errors import AssociationEnded, AssociationLost, AssociationRejected, AssociationReleased, DimseError, NotDicom
from dicom_adapter.dimse.exchange import Exchange
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.machine import AssociateConfirmation, AssociateRefusal, Output, ReleaseConfirmation
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.negotiation import smaller
from dicom_adapter.dimse.observer import Peer
from dicom_adapter.dimse.pdu import AbortReason, AbortSource, Foreign
from dicom_adapter.dimse.proposal import outcome
from dicom_adapter.dimse.states import State

_NO_ANSWER: Final = "the peer closed the connection without an answer to the association request"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an association is asked for with, and what serves the peer on it."""

    request: AssociateRequest
    encoded: bytes
    handlers: Handlers
    limits: Limits


class RequestedAssociation(Association):
    """The side of a client. `established` is done when the peer has answered; `closed` when nothing of it is left."""

    def __init__(self, proposal: Proposal, connection: Connection, address: str, port: int) -> None:
        super().__init__(proposal.limits, connection)
        self._proposal = proposal
        self._peer = Peer(proposal.request.called_ae_title, proposal.request.calling_ae_title, address, port)
        self._before: DimseError | None = None
        self._established: asyncio.Future[Exchange] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._work = asyncio.Event()
        self.acceptance: AssociateAcceptance | None = None

    # What its owner calls

    def start(self) -> None:
        """The connection is open: ask for the association."""
        request = self._proposal.request
        self._machine.associate()
        self._silence.answer_by = self._loop.time() + self._limits.association_timeout
        self._carry_out(self._machine.connected(self._proposal.encoded, frozenset(context.context_id for context in request.contexts)))
        self._set_timer()

    async def established(self) -> Exchange:
        """Wait for the peer's answer.

        Raises:
            DimseError: there is no association, and the connection is closed.
        """
        try:
            return await self._established
        except DimseError:
            await self._closed.wait()
            raise
        except asyncio.CancelledError:
            self.shut_down("the association is not wanted any more")
            raise

    @property
    def peer_address(self) -> str:
        """Address and port that it is connected to."""
        host = f"[{self._peer.address}]" if ":" in self._peer.address else self._peer.address
        return f"{host}:{self._peer.port}"

    @property
    def usable(self) -> bool:
        """Whether requests can be sent."""
        return self._machine.state is State.STA6 and not self._connection.is_closing()

    @property
    def end(self) -> AssociationEnded:
        """Why it is over."""
        return self._end or AssociationReleased("the association is being released")

    async def release(self) -> None:
        """Release (PS3.8 7.2) once the peer has answered what is still to be answered; a peer that will not is aborted. Never raises."""
        while (
            self._exchange is not None
            and self._machine.state is State.STA6
            and (self._exchange.invoker.outstanding or self._exchange.working)
        ):
            self._work.clear()
            await self._work.wait()
        if self._machine.state is State.STA6:
            self._silence.answer_by = self._loop.time() + self._limits.association_timeout
            self._carry_out(self._machine.request_release())
            self._set_timer()
        await self._closed.wait()

    async def abort(self) -> None:
        """Abort (PS3.8 7.3)."""
        self.shut_down("the association was aborted here")
        await self._closed.wait()

    # What the machine says

    def _told(self, output: Output) -> None:
        match output:
            case AssociateConfirmation(acceptance):
                self._silence.answer_by = None
                self._accepted(acceptance)
            case AssociateRefusal(result, source, reason):
                self._before = AssociationRejected(result, source, reason)
            case ReleaseConfirmation():
                self._silence.answer_by = None
                self._ending("released", AssociationReleased("the association was released"))
                self._close_exchange()
            case Foreign():
                self._before = NotDicom("something answers there, but it does not speak DICOM")
            case _:
                pass

    def _accepted(self, acceptance: AssociateAcceptance) -> None:
        request, limits = self._proposal.request, self._limits
        contexts = {number: result for number, result in outcome(request, acceptance).items() if not result.result}
        # Both windows are seen from us, and without an answer they are one (PS3.7 D.3.3.3).
        invoked, performed = acceptance.asynchronous_operations or (1, 1)
        asked = request.asynchronous_operations or (1, 1)
        self.acceptance = acceptance
        self._exchange = Exchange(
            Negotiated(
                0,
                self._peer,
                contexts,
                acceptance.maximum_length,
                smaller(invoked, asked[0]),
                smaller(smaller(performed, asked[1]), limits.max_operations),
                acceptance.extended,
            ),
            self._proposal.handlers,
            limits,
            report=lambda *_: None,
            refusing=lambda: False,
            send=self._send_data,
            give_up=self._give_up,
            changed=self._changed,
            relieved=self._relieved,
        )
        if not self._established.done():
            self._established.set_result(self._exchange)

    # How it ends

    def _settled(self) -> None:
        self._work.set()

    def _changed(self) -> None:
        super()._changed()
        self._work.set()
        if self._end is not None and self._machine.state is State.STA13:
            self._leave()

    def _abort(self, source: AbortSource, end: AssociationEnded, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        super()._abort(source, end, reason)
        self._leave()

    def _leave(self) -> None:
        """It is over, and who has asked for the association need not wait for the peer to close."""
        if not self._lost and not self._shut_down:
            self._shut_down = True
            if self._timer is not None:
                self._timer.cancel()
            self._connection.close()
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._connection.abort)

    def _finish(self) -> None:
        if self._lost and not self._closed.is_set() and not (self._exchange is not None and self._exchange.working):
            if not self._established.done():
                self._established.set_exception(self._before or self._end or AssociationLost(_NO_ANSWER))
            self._exchange = None  # it holds methods of ours: what has ended need not wait for the garbage collector
            self._work.set()
            self._closed.set()

    def _sentence(self, due: Due) -> str:
        limits = self._limits
        match due:
            case Due.HANDSHAKE:
                what = "release" if self._exchange is not None else "association request"
                return f"no answer to the {what} for {limits.association_timeout:g} s"
            case Due.UNREAD:
                return f"the peer left what we send unread for {limits.dimse_timeout:g} s"
            case Due.STALLED:
                return f"no data for {limits.dimse_timeout:g} s inside a message"
            case Due.UNANSWERED:
                return f"no response for {limits.response_timeout:g} s"
            case _:
                return f"idle for {limits.idle_timeout:g} s"
