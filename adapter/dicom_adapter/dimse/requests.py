"""The operations that we ask of a peer, as functions and async iterators (PS3.7 9.1, 10.1)."""

from collections.abc import AsyncGenerator, AsyncIterable

from dicom_adapter.dimse.commands import Command, CommandField, MoveOriginator, Priority
from dicom_adapter.dimse.errors import ContextNotAccepted
from dicom_adapter.dimse.handlers import Response, SopInstance
from dicom_adapter.dimse.invoker import Invoker
from dicom_adapter.dimse.negotiated import Negotiated
from dicom_adapter.dimse.sopclasses import VERIFICATION, abstract_syntax_name
from dicom_adapter.dimse.status import Status


class Requests:
    """Asks the peer of one association. Every method may raise `AssociationEnded` and `ContextNotAccepted`."""

    def __init__(self, negotiated: Negotiated, invoker: Invoker) -> None:
        self._negotiated = negotiated
        self._invoker = invoker

    @property
    def ended(self) -> bool:
        """Whether the peer will be asked nothing more."""
        return self._invoker.ended

    def transfer_syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        """Return the transfer syntaxes that were accepted for a SOP class."""
        contexts = self._negotiated.contexts.values()
        return tuple(context.transfer_syntax for context in contexts if context.abstract_syntax == sop_class_uid)

    async def echo(self) -> Status:
        """C-ECHO."""
        command = Command(CommandField.C_ECHO_RQ, 0, has_data_set=False, sop_class_uid=VERIFICATION)
        return (await self._ask(self._context(VERIFICATION), command, None)).status

    async def store(
        self, instance: SopInstance, *, priority: int = Priority.MEDIUM, move_originator: MoveOriginator | None = None
    ) -> Status:
        """C-STORE. The data set goes out while it comes, no faster than the peer reads.

        An exception of its iterator is passed on; if some of it was sent by then, the association is aborted.
        """
        context_id = self._context(instance.sop_class_uid, instance.transfer_syntax_uid)
        command = Command(
            CommandField.C_STORE_RQ,
            0,
            has_data_set=True,
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            priority=priority,
            move_originator=move_originator,
        )
        return (await self._ask(context_id, command, instance.body)).status

    def find(
        self, sop_class_uid: str, identifier: bytes, *, transfer_syntax_uid: str | None = None, priority: int = Priority.MEDIUM
    ) -> AsyncGenerator[Response, None]:
        """C-FIND: its responses as they come, the last with the final status.

        `identifier` is encoded in one of `transfer_syntaxes(sop_class_uid)`: in the first, unless `transfer_syntax_uid` names another. The
        peer is held back while responses wait to be read. To leave the loop sends a C-CANCEL.
        """
        return self._query(CommandField.C_FIND_RQ, sop_class_uid, identifier, transfer_syntax_uid, priority)

    def get(
        self, sop_class_uid: str, identifier: bytes, *, transfer_syntax_uid: str | None = None, priority: int = Priority.MEDIUM
    ) -> AsyncGenerator[Response, None]:
        """C-GET, as `find`. The instances come to the `store` handler that the association was opened with."""
        return self._query(CommandField.C_GET_RQ, sop_class_uid, identifier, transfer_syntax_uid, priority)

    def move(
        self,
        sop_class_uid: str,
        identifier: bytes,
        destination: str,
        *,
        transfer_syntax_uid: str | None = None,
        priority: int = Priority.MEDIUM,
    ) -> AsyncGenerator[Response, None]:
        """C-MOVE to the AE title `destination`, as `find`."""
        return self._query(CommandField.C_MOVE_RQ, sop_class_uid, identifier, transfer_syntax_uid, priority, destination)

    async def n_action(self, sop_class_uid: str, sop_instance_uid: str, action_type_id: int, information: bytes | None = None) -> Response:
        """N-ACTION; a reply is the `data_set` of the response."""
        return await self._normalized(CommandField.N_ACTION_RQ, sop_class_uid, sop_instance_uid, action_type_id, information)

    async def n_event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type_id: int, information: bytes | None = None
    ) -> Response:
        """N-EVENT-REPORT; a reply is the `data_set` of the response."""
        return await self._normalized(CommandField.N_EVENT_REPORT_RQ, sop_class_uid, sop_instance_uid, event_type_id, information)

    async def _normalized(self, field: CommandField, sop_class: str, sop_instance: str, type_id: int, data: bytes | None) -> Response:
        command = Command(field, 0, data is not None, sop_class, sop_instance, type_id=type_id)
        return await self._ask(self._context(sop_class), command, data)

    async def _ask(self, context_id: int, command: Command, data: bytes | AsyncIterable[bytes] | None) -> Response:
        invocation = await self._invoker.invoke(context_id, command, data)
        try:
            return await invocation.next()
        finally:
            self._invoker.abandon(invocation, cancel=False)

    async def _query(
        self, field: CommandField, sop_class: str, identifier: bytes, transfer_syntax: str | None, priority: int, destination: str = ""
    ) -> AsyncGenerator[Response, None]:
        command = Command(field, 0, True, sop_class, priority=priority, move_destination=destination)
        invocation = await self._invoker.invoke(self._context(sop_class, transfer_syntax), command, identifier)
        try:
            while True:
                response = await invocation.next()
                yield response
                if not response.pending:
                    return
        finally:
            self._invoker.abandon(invocation, cancel=True)

    def _context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> int:
        for context in self._negotiated.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (None, context.transfer_syntax):
                return context.context_id
        found, peer = self.transfer_syntaxes(abstract_syntax), self._negotiated.peer.ae_title
        what = f"'{peer}' has not accepted {abstract_syntax_name(abstract_syntax)}"
        raise ContextNotAccepted(abstract_syntax, f"{what} in {transfer_syntax}, only in {', '.join(found)}" if found else what)
