"""The DICOMweb client: STOW-RS (PS3.18 10.5), QIDO-RS (10.6), WADO-RS (10.4) and the deletion of one instance, to one origin.

One call of `store` is one attempt and follows no redirect: whether its body can be sent again is the caller's to know. Requests without a
body follow redirects within the origin. Answers are bounded; what is retrieved is streamed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp

from dicom_adapter.dicomweb.errors import BrokenAnswer, Endpoint, StoreUnreachable
from dicom_adapter.dicomweb.multipart import NotMultipart, PartBegins, PartsReader
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.dicomweb.transport import BadEncoding, Headers, Refused, RequestObserver, Response, Tls, Transport
from dicom_adapter.dicomweb.upload import Question, Upload

MAXIMUM_ANSWER = 1 << 20
MAXIMUM_PAGE = 32 << 20
_MAXIMUM_REDIRECTS = 5
PLAIN = "*?,:/@!$'()^~"
"""What goes into a search as it is, beside letters, digits and `-._`: there are stores that do not decode it."""
_JSON = "application/dicom+json"
_INSTANCES = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered: at most MAXIMUM_ANSWER bytes of it.

    `early`: before the whole instance had gone out. `redirect`: path and query on the same origin to which a redirect leads. `retry_after`:
    the header as it came. `again`: a 401, and there are other credentials by now.
    """

    status: int
    content_type: str
    body: bytes
    truncated: bool = False
    early: bool = False
    retry_after: str = ""
    redirect: str = ""
    again: bool = False


class Refusal(Exception):
    """The store answered a search or retrieval with an error; `answer` is what it said."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class InstancePath:
    """The three UIDs of an instance's resource (PS3.18 table 10.4.1-1)."""

    study: str
    series: str
    instance: str

    def __str__(self) -> str:
        """Below the base URL."""
        return "/studies/{}/series/{}/instances/{}".format(*(quote(uid, safe="") for uid in (self.study, self.series, self.instance)))


class DicomwebClient:
    """Requests to one DICOMweb service. Made and closed on the event loop that uses it."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Headers,
        tls: Tls,
        observer: RequestObserver,
        connections: int,
        user_agent: str,
        refused: Refused | None = None,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._transport = Transport(
            base_url,
            headers=headers,
            refused=refused,
            tls=tls,
            observer=observer,
            connections=connections,
            user_agent=user_agent,
            proxies=proxies,
        )
        self._root = self._transport.base.raw_path.rstrip("/")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; a request under way ends unfinished."""
        await self._transport.close()

    @property
    def endpoint(self) -> Endpoint:
        """Host and port of the store, and its address as last resolved."""
        return self._transport.endpoint

    @property
    def proxy(self) -> str:
        """The HTTP proxy that requests take; empty for the direct way."""
        return self._transport.proxy

    # -- STOW-RS -----------------------------------------------------------------------------------

    async def store(self, upload: Upload, *, fresh: bool = False, at: str = "") -> Answer:
        """POST {base}/studies with instances. Raises StoreUnreachable, or whatever interrupted an instance.

        With `fresh` it goes over a connection of its own: an upload that cannot be sent again must not meet one that the server is closing.
        `at` is where an earlier answer has redirected to.
        """
        headers = {"Content-Type": upload.content_type, "Accept": _JSON}
        if upload.length is not None:
            headers["Content-Length"] = str(upload.length)
        try:
            async with self._transport.request("POST", at or f"{self._root}/studies", headers, upload, fresh=fresh) as response:
                return await _answer(response)
        except StoreUnreachable:
            if upload.interruption is not None:
                raise upload.interruption from None
            raise

    async def ask(self, path: str, question: Question) -> Answer:
        """POST to any path of the store's origin: to learn what the store would allow. Raises StoreUnreachable."""
        headers = {"Content-Type": question.content_type, "Content-Length": str(question.length), "Accept": "application/json"}
        async with self._transport.request("POST", path, headers, question) as response:
            return await _answer(response)

    # -- QIDO-RS -----------------------------------------------------------------------------------

    async def search(self) -> Answer:
        """GET {base}/studies?limit=1: the cheapest question that shows that the store is there and lets us in."""
        async with self._get("/studies?limit=1", _JSON) as response:
            return await _answer(response)

    async def find(
        self, resource: str, parameters: Sequence[tuple[str, str]], *, page: int = 500, last: Callable[[int], bool] = lambda size: False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The matches of a search, for example of `/instances`, in the store's order, page by page: no more than one is in memory.

        Goes on past the store's own limit with `offset`, until a page is empty or the store, not knowing `offset`, begins again, or `last`
        says of the size of a page that there is no other. Raises StoreUnreachable, Refusal, BrokenAnswer.
        """
        offset = 0
        before: object = None
        while True:
            matches = await self.page(resource, parameters, page, offset)
            if not matches or matches[0] == before:
                return
            before = matches[0]
            for match in matches:
                yield match
            if last(len(matches)):
                return
            offset += len(matches)

    async def page(self, resource: str, parameters: Sequence[tuple[str, str]], limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """One page of a search, empty when there is nothing. Raises StoreUnreachable, Refusal, BrokenAnswer."""
        query = urlencode([*parameters, ("limit", str(limit)), ("offset", str(offset))], quote_via=quote, safe=PLAIN)
        async with self._get(f"{resource}?{query}", _JSON) as response:
            if response.status == 204:
                return []
            if response.status != 200:
                raise Refusal(await _answer(response))
            body, truncated = await response.bounded(MAXIMUM_PAGE)
        if truncated:
            raise BrokenAnswer("a search result that breaks off or is too long")
        try:
            found = json.loads(body) if body.strip() else []
        except (ValueError, RecursionError) as error:
            raise BrokenAnswer("a search result that is no JSON") from error
        if not isinstance(found, list) or not all(isinstance(match, dict) for match in found):
            raise BrokenAnswer("a search result that is no list of data sets")
        return [_formed(match) for match in found]

    # -- WADO-RS and deletion ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def retrieve(self, path: InstancePath) -> AsyncIterator[AsyncIterator[bytes]]:
        """The one instance's Part 10 stream, as stored (PS3.18 8.7.3.5.2: any transfer syntax).

        The stream ends only when the instance has come whole. Raises StoreUnreachable, Refusal, BrokenAnswer.
        """
        async with self._get(str(path), _INSTANCES) as response:
            if response.status != 200:
                raise Refusal(await _answer(response))
            async with contextlib.aclosing(_instance(response)) as pieces:
                yield pieces

    @contextlib.asynccontextmanager
    async def retrieve_all(self, resource: str) -> AsyncIterator[AsyncIterator[PartBegins | bytes]]:
        """Every instance of a study or series, as stored, in the store's order: PartBegins and then its Part 10 stream, each.

        An instance has come whole when another one begins, and the last of them when the stream ends. Raises StoreUnreachable, Refusal,
        BrokenAnswer.
        """
        async with self._get(resource, _INSTANCES) as response:
            if response.status != 200:
                raise Refusal(await _answer(response))
            async with contextlib.aclosing(_parts(response)) as pieces:
                yield pieces

    async def delete(self, path: InstancePath) -> Answer:
        """DELETE of one instance, as the Healthcare API, Orthanc and Azure know it. Raises StoreUnreachable."""
        async with self._asked("DELETE", self._root + str(path), {"Accept": "application/json"}) as response:
            return await _answer(response)

    def _get(self, path: str, accept: str) -> AbstractAsyncContextManager[Response]:
        return self._asked("GET", self._root + path, {"Accept": accept})

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, target: str, headers: Mapping[str, str]) -> AsyncIterator[Response]:
        """A request without a body: it follows redirects within the origin, and is made once more with other credentials."""
        renewed = False
        for last in (False,) * _MAXIMUM_REDIRECTS + (True,):
            async with self._transport.request(method, target, headers) as response:
                again = response.again and not renewed
                if last or not (response.redirect or again):
                    yield response
                    return
                renewed |= again
                target = response.redirect or target


def _formed(match: dict[str, Any]) -> dict[str, Any]:
    """Without what is no element of DICOM JSON (PS3.18 F.2.2: an object, whose Value is an array): who reads it need not look again."""
    return {tag: one for tag, one in match.items() if isinstance(one, dict) and isinstance(one.get("Value") or [], list)}


async def _answer(response: Response) -> Answer:
    body, truncated = await response.bounded(MAXIMUM_ANSWER)
    if truncated:
        response.close()
    return Answer(
        response.status,
        response.content_type,
        body,
        truncated=truncated,
        early=response.early,
        retry_after=response.retry_after,
        redirect=response.redirect,
        again=response.again,
    )


async def _instance(response: Response) -> AsyncGenerator[bytes, None]:
    """The one instance in an answer."""
    parts = 0
    async with contextlib.aclosing(_parts(response)) as pieces:
        async for piece in pieces:
            if isinstance(piece, PartBegins):
                parts += 1
                if parts > 1:
                    raise BrokenAnswer("more than the one instance")
            else:
                yield piece
    if not parts:
        raise BrokenAnswer("no instance")


async def _parts(response: Response) -> AsyncGenerator[PartBegins | bytes, None]:
    """The parts of multipart/related, or application/dicom bare as the only one; it ends only when the answer has come whole."""
    try:
        reader = PartsReader(response.content_type) if response.content_type.lower().startswith("multipart/") else None
        if reader is None:
            yield PartBegins(response.content_type)
        async with contextlib.aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                for found in reader.feed(chunk) if reader else (chunk,):
                    yield found
        if reader:
            reader.finish()
    except NotMultipart as error:
        raise BrokenAnswer(str(error)) from error
    except (aiohttp.ClientError, TimeoutError, BadEncoding) as error:
        raise BrokenAnswer("an instance that breaks off") from error
