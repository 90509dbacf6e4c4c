"""The invoking side of DIMSE on one association (PS3.7 7.1): requests out, responses to whom they belong, in whatever order they come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable
from dataclasses import replace
from typing import Final

from dicom_adapter.dimse.commands import RESPONSE_BIT, Command, CommandField, encode_request
from dicom_adapter.dimse.errors import AssociationEnded
from dicom_adapter.dimse.handlers import Response
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.messages import MessageBegun
from dicom_adapter.dimse.outlet import Outlet
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.status import Status

MOST_UNREAD_RESPONSES: Final = 32
"""Responses that wait for a slow reader before the peer is held back."""

_LAST_MESSAGE_ID: Final = 0xFFFF


class Invocation:
    """One request of ours until its last response: `next` hands the responses out one by one."""

    __slots__ = ("_abandoned", "_end", "_on_taken", "_responses", "_waiter", "command", "context_id", "final", "queued", "sent")

    def __init__(self, context_id: int, command: Command, on_taken: Callable[[], None]) -> None:
        self.context_id = context_id
        self.command = command
        self.sent = False
        self.final = False
        self.queued = 0
        self._abandoned = False
        self._responses: deque[Response] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._end: AssociationEnded | None = None
        self._on_taken = on_taken

    @property
    def unread(self) -> int:
        """How many responses nobody has asked for yet."""
        return len(self._responses)

    def put(self, response: Response) -> None:
        """Add a response as it came."""
        self.final = not response.pending
        if not self._abandoned:
            self._responses.append(response)
            self.queued += len(response.data_set or b"")
        self._wake()

    def fail(self, end: AssociationEnded) -> None:
        """No more responses come."""
        self._end = end
        self._wake()

    def abandon(self) -> None:
        """Nobody wants the responses any more; those that still come are dropped."""
        self._abandoned = True
        self._responses.clear()
        self.queued = 0
        self._on_taken()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Response:
        """Return the next response, as soon as there is one.

        Raises:
            AssociationEnded: none comes any more.
        """
        while not self._responses:
            if self._end is not None:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        response = self._responses.popleft()
        self.queued -= len(response.data_set or b"")
        self._on_taken()
        return response


class Invoker:
    """Invokes operations. At most `window` wait for their last response at a time (0: no limit), others wait their turn in order."""

    def __init__(self, limits: Limits, outlet: Outlet, window: int, *, changed: Callable[[], None], relieved: Callable[[], None]) -> None:
        self._limits = limits
        self._outlet = outlet
        self._most = window or _LAST_MESSAGE_ID
        self._taken = 0
        self._changed = changed
        self._relieved = relieved
        self._invocations: dict[int, Invocation] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_id = 0
        self._end: AssociationEnded | None = None
        self._receiving: tuple[Invocation, Command, bytearray] | None = None

    @property
    def ended(self) -> bool:
        """Whether the association is gone."""
        return self._end is not None

    @property
    def outstanding(self) -> int:
        """How many requests have not had their last response."""
        return len(self._invocations)

    @property
    def awaiting(self) -> bool:
        """Whether the peer has all of a request and owes us a response."""
        return any(invocation.sent for invocation in self._invocations.values())

    def saturated(self, window: int) -> bool:
        """Whether the peer should be held back: responses wait for who asked for them."""
        return any(invocation.unread > MOST_UNREAD_RESPONSES or invocation.queued > window for invocation in self._invocations.values())

    async def invoke(self, context_id: int, command: Command, data: bytes | AsyncIterable[bytes] | None = None) -> Invocation:
        """Send a request; its responses come from the invocation that is returned. The message ID in `command` is replaced.

        Raises:
            AssociationEnded: there is no association any more.
        """
        await self._turn()
        invocation = Invocation(context_id, replace(command, message_id=self._new_id()), self._relieved)
        message_id = invocation.command.message_id
        self._invocations[message_id] = invocation
        try:
            await self._outlet.send(context_id, encode_request(invocation.command), data)
        except BaseException:
            self._forget(message_id)
            raise
        invocation.sent = True
        self._changed()
        return invocation

    def abandon(self, invocation: Invocation, *, cancel: bool) -> None:
        """Give up an operation that nobody waits for any more, with a C-CANCEL where there is one (PS3.7 9.3.2.3).

        Its turn is over when the peer has sent the last response.
        """
        if invocation.final or self._end is not None:
            return
        invocation.abandon()
        if cancel:
            request = Command(CommandField.C_CANCEL_RQ, invocation.command.message_id, has_data_set=False)
            self._outlet.post(invocation.context_id, encode_request(request))

    def close(self, end: AssociationEnded) -> None:
        """The association is gone."""
        if self._end is None:
            self._end = end
            for invocation in self._invocations.values():
                invocation.fail(end)
            self._invocations.clear()
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(end)
            self._waiting.clear()

    # What comes off the wire

    def begin(self, message: MessageBegun) -> None:
        """Take the command set of a response.

        Raises:
            ProtocolViolation: nothing was asked that it could answer.
        """
        command = message.command
        invocation = self._invocations.get(command.message_id)
        if invocation is None or command.field != invocation.command.field | RESPONSE_BIT or message.context_id != invocation.context_id:
            raise ProtocolViolation("a response where nothing was asked")
        if command.has_data_set:
            self._receiving = invocation, command, bytearray()
        else:
            self._deliver(invocation, command, None)

    def feed(self, data: bytes, last: bool) -> None:
        """Take bytes of a response's data set.

        Raises:
            ProtocolViolation: it is longer than a response may be.
        """
        if self._receiving is None:
            return
        invocation, command, collected = self._receiving
        if len(collected) + len(data) > self._limits.max_data_set_bytes:
            raise ProtocolViolation(f"a response of more than {self._limits.max_data_set_bytes} bytes")
        collected += data
        if last:
            self._receiving = None
            self._deliver(invocation, command, bytes(collected))

    def _deliver(self, invocation: Invocation, command: Command, data: bytes | None) -> None:
        invocation.put(Response(command.status or Status(0), data, command.sub_operations))
        if invocation.final:
            self._forget(command.message_id)

    # Whose turn it is

    def _new_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LAST_MESSAGE_ID + 1
            if self._last_id not in self._invocations:
                return self._last_id

    async def _turn(self) -> None:
        if self._end is not None:
            raise self._end
        if self._taken < self._most and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._give_back()
            raise

    def _forget(self, message_id: int) -> None:
        if self._invocations.pop(message_id, None) is not None:
            self._give_back()

    def _give_back(self) -> None:
        self._taken -= 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._taken += 1
                waiting.set_result(None)
                return
