"""The performing side of DIMSE on one association (PS3.7 7.2): fragments in, handlers run, responses out.

One operation is in work at a time, its handler is a task. Requests that come before it is answered wait in order (their data sets count
against the same window, so a peer that does not wait is held back).
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from dicom_adapter.dimse.body import DataSetStream
from dicom_adapter.dimse.commands import CommandField, command_pdus, encode_response
from dicom_adapter.dimse.handlers import DataSetInterrupted, StoreRequest
from dicom_adapter.dimse.messages import MessageAssembler, MessageBegun
from dicom_adapter.dimse.negotiation import ContextResult
from dicom_adapter.dimse.observer import Peer
from dicom_adapter.dimse.operation import SHUTTING_DOWN, Operation, immediate_status
from dicom_adapter.dimse.pdu import Fragment
from dicom_adapter.dimse.registry import Acceptor
from dicom_adapter.dimse.status import OUT_OF_RESOURCES, Status

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the two sides agreed on, as far as operations need it."""

    association_id: int
    peer: Peer
    contexts: dict[int, ContextResult]
    peer_maximum_length: int


class Performer:
    """Performs the operations of one association.

    `send` takes P-DATA-TF PDUs; `changed` is called when an operation has ended, `relieved` when a handler has made room in the window.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        negotiated: Negotiated,
        *,
        send: Callable[[bytes], None],
        changed: Callable[[], None],
        relieved: Callable[[], None],
    ) -> None:
        self._acceptor = acceptor
        self._negotiated = negotiated
        self._send = send
        self._changed = changed
        self._relieved = relieved
        self._loop = asyncio.get_running_loop()
        self._messages = MessageAssembler(acceptor.limits.max_command_bytes)
        self._operations: deque[Operation] = deque()
        self._receiving: Operation | None = None
        self._closed = False
        self.turned_away = False
        self.counts: Counter[tuple[str, int]] = Counter()

    @property
    def working(self) -> bool:
        """Whether an operation waits for its answer."""
        return bool(self._operations)

    @property
    def inside_message(self) -> bool:
        """Whether the peer has begun a message and not ended it."""
        return self._messages.inside_message

    @property
    def receiving_service(self) -> str | None:
        """The service whose data set is on its way."""
        return self._receiving.command.service if self._receiving is not None else None

    def saturated(self, window: int) -> bool:
        """Whether the peer should be held back: more than `window` bytes wait for a handler, or requests wait behind another."""
        operations = self._operations
        return len(operations) > 1 or (bool(operations) and operations[0].body.queued > window)

    def take(self, fragment: Fragment) -> None:
        """Take a fragment off the wire; its bytes are copied by the next `pass_data`.

        Raises:
            ProtocolViolation: the peer broke the rules of PS3.7 or PS3.8 E.
        """
        event = self._messages.feed(fragment)
        if type(event) is MessageBegun:
            self._begin(event)
        elif event is not None:
            self.pass_data(last=True)

    def pass_data(self, *, last: bool = False) -> None:
        """Hand on the data set bytes taken so far."""
        data = self._messages.take_data()
        operation = self._receiving
        if operation is None or not (data or last):
            return
        operation.body.feed(data, last)
        if last:
            self._receiving = None
            self._advance()

    def interrupt(self, reason: str) -> None:
        """No more data comes. What is complete is still performed and answered."""
        if self._receiving is not None:
            self._receiving.body.interrupt(reason)
            self._receiving = None
        self._advance()

    def close(self, reason: str) -> None:
        """The association is gone: a handler that runs may finish, what waits behind it is dropped."""
        self._closed = True
        self.interrupt(reason)

    def cancel(self) -> None:
        """Cancel the handler that runs."""
        if self._operations and self._operations[0].task is not None:
            self._operations[0].task.cancel()

    def _begin(self, message: MessageBegun) -> None:
        command = message.command
        if command.field == CommandField.C_CANCEL_RQ:
            return  # neither C-STORE nor C-ECHO can be cancelled (PS3.7 9.3.2.3): one that comes too late for others is ignored as well
        context = self._negotiated.contexts[message.context_id]
        status = immediate_status(command, context.abstract_syntax, self._acceptor.registry.refusing)
        operation = Operation(message.context_id, command, DataSetStream(self._relieved), self._loop.time(), status)
        self._operations.append(operation)
        if command.has_data_set:
            self._receiving = operation
            if status is not None:
                operation.body.discard()
        else:
            operation.body.feed(b"", last=True)
        self._advance()

    def _advance(self) -> None:
        """Answer the first operations as far as they are done, start the handler of the next."""
        while self._operations:
            operation = self._operations[0]
            if operation.task is not None:
                return
            if not operation.body.interrupted:
                if operation.status is None and not operation.handled and not self._closed:
                    operation.task = self._loop.create_task(self._perform(operation))
                    return
                if operation.receiving and not self._closed:
                    return
                if operation.status is not None and not operation.receiving:
                    self._respond(operation, operation.status)
            self._operations.popleft()

    async def _perform(self, operation: Operation) -> None:
        try:
            operation.status = await self._store(operation)
        finally:
            operation.handled = True
            operation.task = None
            operation.body.discard()
            self._advance()
            self._changed()

    async def _store(self, operation: Operation) -> Status | None:
        """Return the handler's status, None where there is nobody to tell."""
        store = self._acceptor.handlers.store
        if store is None:  # not reached: without a handler no storage context was accepted
            raise RuntimeError("no handler for C-STORE")
        request = StoreRequest(
            self._negotiated.peer,
            self._negotiated.association_id,
            operation.command.message_id,
            operation.command.sop_class_uid,
            operation.command.sop_instance_uid,
            self._negotiated.contexts[operation.context_id].transfer_syntax,
            operation.body,
        )
        try:
            return await store(request)
        except DataSetInterrupted:
            if operation.body.interrupted:
                return None
            _log.exception("a C-STORE handler raised DataSetInterrupted for a data set that was not")
        except Exception:
            _log.exception("a C-STORE handler failed")
        return Status(OUT_OF_RESOURCES, "Internal error, see the log of the adapter")

    def _respond(self, operation: Operation, status: Status) -> None:
        command = operation.command
        if not self._closed:
            response = encode_response(command, status)
            self._send(command_pdus(operation.context_id, response, self._negotiated.peer_maximum_length))
        self.turned_away = self.turned_away or status is SHUTTING_DOWN
        self.counts[command.service, status.code] += 1
        seconds = self._loop.time() - operation.started
        self._acceptor.observer.operation_ended(command.service, self._negotiated.peer, status, seconds, operation.sop_instance_uid)
