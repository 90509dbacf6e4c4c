"""How each DIMSE service is performed: the request for its handler, and the handler's answers for the peer."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from dicom_adapter.dimse.commands import SubOperations
from dicom_adapter.dimse.errors import AssociationEnded
from dicom_adapter.dimse.handlers import (
    DataSetInterrupted,
    GetRequest,
    Handlers,
    MoveRequest,
    NormalizedRequest,
    QueryRequest,
    Response,
    StoreRequest,
)
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.operation import Kind, Operation
from dicom_adapter.dimse.requests import Requests
from dicom_adapter.dimse.status import CANCELLED, SUCCESS, Status

_log = logging.getLogger(__name__)

Pending = Callable[[Operation, Response], Awaitable[None]]
"""Sends a response that is not the last."""

INTERNAL_ERROR: Final = "Internal error, see the log of the adapter"


class _TooLong(Exception):
    """A data set is longer than we collect."""


class Services:
    """Runs the handlers of one association."""

    def __init__(self, handlers: Handlers, negotiated: Negotiated, limits: Limits, sender: Requests) -> None:
        self._handlers = handlers
        self._negotiated = negotiated
        self._limits = limits
        self._sender = sender

    async def perform(self, operation: Operation, pending: Pending) -> Response | None:
        """Return the last response to an operation, None where there is nobody to tell."""
        kind = operation.kind
        if kind is None:  # not reached: what is no service is answered without one
            raise RuntimeError("no such service")
        service = operation.command.service
        try:
            match kind.service:
                case "store":
                    return Response(await self._store(operation))
                case "n_action" | "n_event_report":
                    return await self._normalized(operation, kind)
                case _:
                    return await self._query(operation, kind, pending)
        except DataSetInterrupted:
            if operation.body.interrupted:
                return None
            _log.exception("a %s handler raised DataSetInterrupted for a data set that was not", service)
        except _TooLong:
            return Response(Status(kind.exhausted, f"Data set of more than {self._limits.max_data_set_bytes} bytes"))
        except asyncio.CancelledError:
            if not operation.cancelled:
                raise
            self._uncancel()
            return Response(Status(CANCELLED), sub_operations=operation.numbers)
        except Exception as error:
            if isinstance(error, AssociationEnded) and self._sender.ended:
                return None  # it heard of the end where it asked the peer, before it was cancelled for it
            _log.exception("a %s handler failed", service)
        return Response(Status(kind.failed, INTERNAL_ERROR))

    async def _store(self, operation: Operation) -> Status:
        store = self._handlers.store
        if store is None:  # not reached: without a handler it is refused
            raise RuntimeError("no handler for C-STORE")
        command = operation.command
        return await store(
            StoreRequest(
                self._negotiated.peer,
                self._negotiated.association_id,
                command.message_id,
                command.sop_class_uid,
                command.sop_instance_uid,
                self._negotiated.contexts[operation.context_id].transfer_syntax,
                operation.body,
                command.priority,
                command.move_originator,
            )
        )

    async def _normalized(self, operation: Operation, kind: Kind) -> Response:
        handlers, command = self._handlers, operation.command
        handler = handlers.n_action if kind.service == "n_action" else handlers.n_event_report
        if handler is None or command.type_id is None:  # not reached: it is refused
            raise RuntimeError(f"no handler for {command.service}")
        return await handler(
            NormalizedRequest(
                peer=self._negotiated.peer,
                association_id=self._negotiated.association_id,
                message_id=command.message_id,
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                transfer_syntax_uid=self._negotiated.contexts[operation.context_id].transfer_syntax,
                type_id=command.type_id,
                information=await self._collect(operation),
                requestor=self._sender,
            )
        )

    async def _query(self, operation: Operation, kind: Kind, pending: Pending) -> Response:
        command = operation.command
        request = QueryRequest(
            peer=self._negotiated.peer,
            association_id=self._negotiated.association_id,
            message_id=command.message_id,
            sop_class_uid=command.sop_class_uid,
            transfer_syntax_uid=self._negotiated.contexts[operation.context_id].transfer_syntax,
            identifier=await self._collect(operation),
            priority=command.priority,
            extended=self._negotiated.extended.get(command.sop_class_uid),
        )
        return await self._stream(operation, self._responses(operation, kind, request), pending)

    def _responses(self, operation: Operation, kind: Kind, request: QueryRequest) -> AsyncGenerator[Response, None]:
        handlers = self._handlers
        fields = {name: getattr(request, name) for name in QueryRequest.__dataclass_fields__}
        if kind.service == "find" and handlers.find is not None:
            return handlers.find(request)
        if kind.service == "get" and handlers.get is not None:
            return handlers.get(GetRequest(**fields, requestor=self._sender))
        if kind.service == "move" and handlers.move is not None:
            return handlers.move(MoveRequest(**fields, destination=operation.command.move_destination))
        raise RuntimeError(f"no handler for {operation.command.service}")  # not reached: it is refused

    async def _stream(self, operation: Operation, responses: AsyncGenerator[Response, None], pending: Pending) -> Response:
        # Closed when it is left: a handler's `finally` must not wait for the garbage collector.
        async with aclosing(responses):
            async for response in responses:
                operation.numbers = response.sub_operations or operation.numbers
                if not response.pending:
                    return response
                try:
                    await pending(operation, response)
                except asyncio.CancelledError:
                    self._cancel_again()
        # What remains is left out of the last response of a success (PS3.7 9.1.3.1.9, 9.1.4.1.10).
        numbers = operation.numbers
        done = SubOperations(None, numbers.completed, numbers.failed, numbers.warning) if numbers is not None else None
        return Response(Status(SUCCESS), sub_operations=done)

    @staticmethod
    def _cancel_again() -> None:
        """It is the handler's to hear, where it waits next: it may have something to bring to its end."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
            task.cancel()

    @staticmethod
    def _uncancel() -> None:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()

    async def _collect(self, operation: Operation) -> bytes:
        collected = bytearray()
        async for chunk in operation.body:
            if len(collected) + len(chunk) > self._limits.max_data_set_bytes:
                raise _TooLong
            collected += chunk
        return bytes(collected)
