"""The performing side of DIMSE on one association (PS3.7 7.2): requests in, handlers run, responses out.

One operation is in work at a time, its handler is a task; as many as were negotiated where the peer has asked for more (PS3.7 D.3.3.3):
they are answered as they finish. Requests beyond that wait in order (their data sets count against the same window, so a peer that does not
wait is held back).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from dicom_adapter.dimse.body import DataSetStream
from dicom_adapter.dimse.commands import encode_response
from dicom_adapter.dimse.handlers import Handlers, Response
from dicom_adapter.dimse.messages import MessageBegun
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.operation import SHUTTING_DOWN, Operation, immediate_status
from dicom_adapter.dimse.outlet import Outlet
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.services import Services
from dicom_adapter.dimse.status import CANCELLED, SUCCESS, Status

Report = Callable[[str, Status, float, str | None], None]
"""Hears of each answer: service, status, seconds, SOP Instance UID."""

_NO_WINDOW: Final = 1 << 16
_CANCELLED: Final = Response(Status(CANCELLED))


class Performer:
    """Performs the operations of one association.

    `changed` is called when an operation has ended, `relieved` when a handler has made room in the window; `refusing` says whether new
    operations are turned away.
    """

    def __init__(
        self,
        handlers: Handlers,
        negotiated: Negotiated,
        services: Services,
        outlet: Outlet,
        *,
        report: Report,
        refusing: Callable[[], bool],
        changed: Callable[[], None],
        relieved: Callable[[], None],
    ) -> None:
        self._served = handlers.services()
        self._negotiated = negotiated
        self._services = services
        self._outlet = outlet
        self._report = report
        self._refusing = refusing
        self._changed = changed
        self._relieved = relieved
        self._window = negotiated.performed_window or _NO_WINDOW
        self._loop = asyncio.get_running_loop()
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
    def receiving_service(self) -> str | None:
        """The service whose data set is on its way."""
        return self._receiving.command.service if self._receiving is not None else None

    def saturated(self, window: int) -> bool:
        """Whether the peer should be held back: more than `window` bytes wait for handlers, or requests wait behind others."""
        operations = self._operations
        if len(operations) == 1:
            return operations[0].body.queued > window
        return len(operations) > self._window or sum(operation.body.queued for operation in operations) > window

    def begin(self, message: MessageBegun) -> None:
        """Take the command set of a request.

        Raises:
            ProtocolViolation: there is no such request.
        """
        command = message.command
        context = self._negotiated.contexts.get(message.context_id)
        if context is None:  # the peer accepted it with a transfer syntax that nobody proposed
            raise ProtocolViolation(f"a request on presentation context {message.context_id}, which cannot be used")
        status = immediate_status(command, context.abstract_syntax, self._served, self._refusing())
        answer = Response(status) if status is not None else None
        operation = Operation(message.context_id, command, DataSetStream(self._relieved), self._loop.time(), answer)
        self._operations.append(operation)
        if command.has_data_set:
            self._receiving = operation
            if status is not None:
                operation.body.discard()
        else:
            operation.body.feed(b"", last=True)
        self._advance()

    def feed(self, data: bytes, last: bool) -> None:
        """Take bytes of the data set of the request that came last."""
        operation = self._receiving
        if operation is None:
            return
        operation.body.feed(data, last)
        if last:
            self._receiving = None
            self._advance()

    def cancel_operation(self, message_id: int) -> None:
        """Take a C-CANCEL (PS3.7 9.3.2.3). One for an operation that is over, or that cannot be cancelled, does nothing."""
        for operation in self._operations:
            kind = operation.kind
            if operation.command.message_id == message_id and kind is not None and kind.cancellable and not operation.cancelled:
                operation.cancelled = True
                if operation.task is not None:
                    self._cancel_task(operation.task)
                elif operation.answer is None:
                    operation.answer = _CANCELLED
                    operation.body.discard()
                return

    def interrupt(self, reason: str) -> None:
        """No more data comes. What is complete is still performed and answered."""
        if self._receiving is not None:
            self._receiving.body.interrupt(reason)
            self._receiving = None
        self._advance()

    def released(self) -> None:
        """The peer asks for the release: it sends nothing more, so what needs it to answer (C-GET) is over."""
        self._cancel(lambda operation: operation.kind is not None and operation.kind.service == "get")

    def close(self, reason: str) -> None:
        """The association is gone: handlers whose work outlives it may finish, the others are cancelled, what waits behind is dropped."""
        if not self._closed:
            self._closed = True
            self._cancel(lambda operation: operation.kind is not None and operation.kind.cancellable)
        self.interrupt(reason)

    def cancel(self) -> None:
        """Cancel the handlers that run."""
        self._cancel(lambda operation: True)

    def _cancel(self, which: Callable[[Operation], bool]) -> None:
        for operation in self._operations:
            if operation.task is not None and which(operation):
                self._cancel_task(operation.task)

    def _cancel_task(self, task: asyncio.Task[None]) -> None:
        # Later: a task that is cancelled before its first step never runs, not even its `finally`.
        self._loop.call_soon(task.cancel)

    def _advance(self) -> None:
        """Answer what is done, start the handlers of what may run: of those that came first, as many as the window has room for."""
        operations, position = self._operations, 0
        while position < min(self._window, len(operations)):
            operation = operations[position]
            if self._in_work(operation):
                position += 1
            else:
                del operations[position]

    def _in_work(self, operation: Operation) -> bool:
        """Start an operation if it may, answer it if it is done; return whether more of it is to come."""
        if operation.task is not None:
            return True
        if operation.body.interrupted:
            return False
        if operation.answer is None and not operation.handled and not self._closed:
            operation.task = self._loop.create_task(self._perform(operation))
            return True
        if operation.receiving:
            return not self._closed
        if operation.answer is not None:
            self._answer(operation, operation.answer)
        return False

    async def _perform(self, operation: Operation) -> None:
        try:
            operation.answer = await self._services.perform(operation, self._pending)
        finally:
            operation.handled = True
            operation.task = None
            operation.body.discard()
            self._advance()
            self._changed()

    async def _pending(self, operation: Operation, response: Response) -> None:
        """Send a response that is not the last, once the peer has read those before it."""
        await self._outlet.writable()
        self._post(operation, response)

    def _answer(self, operation: Operation, response: Response) -> None:
        command, status = operation.command, response.status
        if not self._closed:
            self._post(operation, response)
        self.turned_away = self.turned_away or (status.comment == SHUTTING_DOWN and self._refusing())
        self.counts[command.service, status.code] += 1
        self._report(command.service, status, self._loop.time() - operation.started, operation.sop_instance_uid)

    def _post(self, operation: Operation, response: Response) -> None:
        command = operation.command
        encoded = encode_response(
            command,
            response.status,
            has_data_set=response.data_set is not None,
            sub_operations=response.sub_operations,
            type_id=command.type_id if response.status.code == SUCCESS else None,
        )
        self._outlet.post(operation.context_id, encoded, response.data_set)
