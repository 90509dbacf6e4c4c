"""Images from the source over WADO-RS, as they are stored: small ones whole, large ones as a stream that the destination draws on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from dicom_adapter import part10
from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.dicomweb.answers import problem
from dicom_adapter.dicomweb.client import DicomwebClient, InstancePath, Refusal
from dicom_adapter.dicomweb.errors import BrokenAnswer, StoreUnreachable
from dicom_adapter.dimse.sopclasses import is_uid
from dicom_adapter.export import messages
from dicom_adapter.export.events import Event, Reason, Result, Trouble, of_answer, of_http
from dicom_adapter.export.notification import Notification

LARGE_BYTES = 4 << 20
"""What is longer is not held whole."""
_SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _STUDY_INSTANCES = "00080018", "0020000D", "0020000E", "00201208"
_LONGEST_META = 64 << 10


class Failed(Exception):
    """There is no image, or no more of it: `result` says what has happened."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.text)
        self.result = result


@dataclass(slots=True)
class Image:
    """An instance as the store gives it: the Part 10 stream's `head`, and the `rest` of a large one still to come.

    The head holds the file meta information and the first LARGE_BYTES of the data set, or all of it.
    """

    path: InstancePath
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: bytes
    offset: int
    rest: AsyncIterator[bytes] | None = None
    sent: int = field(default=0, init=False)

    @property
    def whole(self) -> bool:
        """Whether all of it is here: then it can be sent again."""
        return self.rest is None

    @property
    def size(self) -> int:
        """Bytes: all of it, or what of a large one has gone out so far."""
        return len(self.head) if self.rest is None else self.sent

    def data_set(self) -> bytes | AsyncIterator[bytes]:
        """The data set's bytes, whole or as they come."""
        return memoryview(self.head)[self.offset :].tobytes() if self.rest is None else self._pieces(self.offset)

    def part10(self) -> AsyncIterator[bytes]:
        """The Part 10 stream."""
        return self._pieces(0)

    async def _pieces(self, start: int) -> AsyncIterator[bytes]:
        view = memoryview(self.head)
        for position in range(start, len(view), 1 << 20):
            piece = view[position : position + (1 << 20)].tobytes()
            self.sent += len(piece)
            yield piece
        if self.rest is not None:
            self.head = b""
            async for piece in self.rest:
                self.sent += len(piece)
                yield piece


class Budget:
    """A bound for bytes: who wants more than is left waits; one who is alone gets whatever it needs."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._changed = asyncio.Condition()
        self.used = 0

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """For the time of the block."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.used or self.used + size <= self._maximum)
            self.used += size
        try:
            yield
        finally:
            self.used -= size
            async with self._changed:
                self._changed.notify_all()


class Fetcher:
    """Gets instances from one store."""

    def __init__(self, client: DicomwebClient, budget: Budget) -> None:
        self._client = client
        self._budget = budget

    @contextlib.asynccontextmanager
    async def fetch(self, path: InstancePath) -> AsyncIterator[Image]:
        """One instance. Raises Failed; so does its stream."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._budget.hold(LARGE_BYTES))
            connection = await stack.enter_async_context(contextlib.AsyncExitStack())
            with _named():
                found = await self._image(path, connection)
            if found.whole:
                await connection.aclose()  # it is free for the next one while this is sent
            yield found

    async def _image(self, path: InstancePath, connection: contextlib.AsyncExitStack) -> Image:
        pieces = await connection.enter_async_context(self._client.retrieve(path))
        head = bytearray()
        async for piece in pieces:
            head += piece
            if len(head) > LARGE_BYTES:
                return image(path, bytes(head), _failing(pieces))
        return image(path, bytes(head), None)

    async def instances(self, found: Notification) -> Sequence[InstancePath]:
        """Those of a series or study. Raises Failed."""
        paths = []
        with _named():
            async for match in self._client.find(f"{found.resource}/instances", [("includefield", _SERIES_INSTANCE_UID)]):
                series, instance = _value(match, _SERIES_INSTANCE_UID) or found.series, _value(match, _SOP_INSTANCE_UID)
                if is_uid(series) and is_uid(instance):
                    paths.append(InstancePath(found.study, series, instance))
        if not paths:
            raise Failed(Result(Event.NOT_THERE, messages.nothing_found()))
        return paths

    async def studies(self, dates: str) -> AsyncIterator[tuple[str, int | None]]:
        """The studies with a Study Date in a range, all for "", and how many instances each has, where the store tells. Raises Failed."""
        wanted = [("StudyDate", dates)] if dates else []
        with _named():
            async for match in self._client.find("/studies", [*wanted, ("includefield", _STUDY_INSTANCES)]):
                number = _value(match, _STUDY_INSTANCES)
                yield _value(match, _STUDY_INSTANCE_UID), int(number) if number.isdigit() else None

    async def probe(self) -> Trouble | None:
        """Asks the store whether it is there; gives what is wrong."""
        try:
            with _named():
                answer = await self._client.search()
                if answer.status >= 300:
                    raise Refusal(answer)
        except Failed as failed:
            return failed.result.trouble
        return None


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Gives what goes wrong at the source its name."""
    try:
        yield
    except Refusal as refusal:
        told = problem(refusal.answer)
        text = messages.source_answers(refusal.answer.status, told.status)
        raise Failed(Result(of_answer(refusal.answer.status), text, of_http(refusal.answer.status))) from refusal
    except StoreUnreachable as error:
        raise Failed(Result(Event.SOURCE_UNAVAILABLE, messages.source_unreachable(error.comment), Reason.UNREACHABLE)) from error
    except BrokenAnswer as error:
        raise Failed(Result(Event.BROKEN_OFF, messages.source_broken(str(error)))) from error
    except (Missing, Unusable) as error:
        text = messages.credentials_unusable(error.mounted.what, error.mounted.name)
        raise Failed(Result(Event.SOURCE_UNAVAILABLE, text, Reason.UNAUTHORIZED)) from error
    except CredentialsUnavailable as error:
        raise Failed(Result(Event.SOURCE_UNAVAILABLE, error.text, Reason.UNAUTHORIZED)) from error


async def _failing(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with _named():
        async for piece in pieces:
            yield piece


def image(path: InstancePath, head: bytes, rest: AsyncIterator[bytes] | None) -> Image:
    """An instance whose Part 10 stream begins with `head`. Raises Failed."""
    offset = part10.data_set_offset(head[: part10.HEAD_BYTES])
    if offset is None or offset > min(len(head), _LONGEST_META):
        raise Failed(Result(Event.UNREADABLE, messages.no_part10()))
    meta = part10.file_meta(head)
    if meta is None or not all(is_uid(uid) for uid in (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)):
        raise Failed(Result(Event.UNREADABLE, messages.no_part10()))
    if meta.sop_instance_uid != path.instance:
        raise Failed(Result(Event.UNREADABLE, messages.other_instance()))
    return Image(path, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, head, offset, rest)


def _value(match: dict[str, object], tag: str) -> str:
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
