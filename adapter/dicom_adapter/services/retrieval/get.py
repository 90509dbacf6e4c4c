"""C-GET (PS3.4 C.4.3): instances from the store over the association of who asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from dicom_adapter.dimse import AssociationEnded, GetRequest, Response, SopInstance, Status
from dicom_adapter.services.retrieval.arrival import Broken
from dicom_adapter.services.retrieval.retrieval import Retrieval, responses
from dicom_adapter.services.retrieval.sending import Convert, Why, send
from dicom_adapter.services.retrieval.service import RetrieveService, begin, conclude

_PATIENCE: Final = 60.0
"""What is being sent when a C-GET is cancelled cannot be broken off: the association is to live."""


class GetService:
    """The handler of C-GET."""

    def __init__(self, shared: RetrieveService) -> None:
        self._shared = shared

    async def __call__(self, request: GetRequest) -> AsyncGenerator[Response, None]:
        """Finds, fetches, sends; the responses tell how far it is."""
        retrieval = await begin(self._shared, "C-GET", request)
        if isinstance(retrieval, Response):
            yield retrieval
            return
        sender = _Sender(request, retrieval, self._shared.convert)

        def final(cancelled: bool) -> Response:
            return conclude(self._shared, "C-GET", request, retrieval.tally, cancelled=cancelled, to=request.peer.ae_title)

        async with aclosing(responses(retrieval, [sender.run], patience=_PATIENCE, final=final)) as found:
            async for response in found:
                yield response


class _Sender:
    def __init__(self, request: GetRequest, retrieval: Retrieval, convert: Convert) -> None:
        self._request = request
        self._retrieval = retrieval
        self._convert = convert

    async def run(self) -> None:
        """Sends one instance after the other."""
        title = self._request.peer.ae_title
        while (arrival := await self._retrieval.ready.take()) is not None:
            try:
                self._retrieval.sent(arrival, title, await send(arrival, self, title, self._convert))
            except Broken:
                arrival.discard()  # and the association with it
            except AssociationEnded as error:
                arrival.discard()
                self._retrieval.give_up(Why(str(error), str(error)))
            except BaseException:
                arrival.discard()
                raise

    def transfer_syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        return self._request.requestor.transfer_syntaxes(sop_class_uid)

    async def store(self, instance: SopInstance, /) -> Status:
        return await self._request.requestor.store(instance, priority=self._request.priority)
