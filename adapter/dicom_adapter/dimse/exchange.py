"""The messages of one association, both ways: fragments in, to whoever performs or has asked; messages out, one at a time (PS3.7 6.3)."""

from collections.abc import Callable
from typing import Final

from dicom_adapter.dimse.commands import CommandField
from dicom_adapter.dimse.errors import AssociationEnded
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.invoker import Invoker
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.messages import MessageAssembler, MessageBegun
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.outlet import Outlet
from dicom_adapter.dimse.pdu import Fragment
from dicom_adapter.dimse.performer import Performer, Report
from dicom_adapter.dimse.requests import Requests
from dicom_adapter.dimse.services import Services

_MOST_WAITING_ANSWERS: Final = 64
"""Answers that wait behind a message that is on its way before the peer is held back."""


class Exchange:
    """Both sides of DIMSE on one association.

    `send` takes P-DATA-TF PDUs, `give_up` ends the association, `changed` is called when an operation has begun or ended, `relieved` when
    there is room in the window again.
    """

    def __init__(
        self,
        negotiated: Negotiated,
        handlers: Handlers,
        limits: Limits,
        *,
        report: Report,
        refusing: Callable[[], bool],
        send: Callable[[bytes], None],
        give_up: Callable[[str], None],
        changed: Callable[[], None],
        relieved: Callable[[], None],
    ) -> None:
        self.negotiated = negotiated
        self._messages = MessageAssembler(limits.max_command_bytes)
        self.outlet = Outlet(negotiated.peer_maximum_length, send=send, give_up=give_up)
        self.invoker = Invoker(limits, self.outlet, negotiated.invoked_window, changed=changed, relieved=relieved)
        self.requests = Requests(negotiated, self.invoker)
        services = Services(handlers, negotiated, limits, self.requests)
        self.performer = Performer(
            handlers, negotiated, services, self.outlet, report=report, refusing=refusing, changed=changed, relieved=relieved
        )
        self._receiver: Performer | Invoker = self.performer

    @property
    def working(self) -> bool:
        """Whether an operation of the peer waits for its answer."""
        return self.performer.working

    @property
    def inside_message(self) -> bool:
        """Whether the peer has begun a message and not ended it."""
        return self._messages.inside_message

    def saturated(self, window: int) -> bool:
        """Whether the peer should be held back."""
        return self.performer.saturated(window) or self.invoker.saturated(window) or self.outlet.backlog > _MOST_WAITING_ANSWERS

    def take(self, fragment: Fragment) -> None:
        """Take a fragment off the wire; its bytes are copied by the next `pass_data`.

        Raises:
            ProtocolViolation: the peer broke the rules of PS3.7 or PS3.8 E.
        """
        event = self._messages.feed(fragment)
        if type(event) is MessageBegun:
            command = event.command
            if command.field == CommandField.C_CANCEL_RQ:
                self.performer.cancel_operation(command.message_id)
                return
            self._receiver = self.invoker if command.is_response else self.performer
            self._receiver.begin(event)
        elif event is not None:
            self.pass_data(last=True)

    def pass_data(self, *, last: bool = False) -> None:
        """Hand on the data set bytes taken so far."""
        data = self._messages.take_data()
        if data or last:
            self._receiver.feed(data, last)

    def released(self, end: AssociationEnded) -> None:
        """The peer asks for the release: it sends nothing more, neither the rest of a message nor an answer."""
        self.performer.interrupt("the peer released the association inside a message")
        self.performer.released()
        self.invoker.close(end)

    def close(self, end: AssociationEnded) -> None:
        """The association is gone."""
        self.performer.close(str(end))
        self.invoker.close(end)
        self.outlet.close(end)
