"""C-FIND (PS3.7 9.1.2, PS3.4 C.4.1): a query in, the store's search results out as they come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from dicom_adapter import messages
from dicom_adapter.config import Config, Query
from dicom_adapter.delivery.assembly import policy
from dicom_adapter.delivery.retry import RetryPolicy, seconds_until
from dicom_adapter.delivery.verdict import NOT_AUTHORIZED
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.query import Ask, Page, Parameters
from dicom_adapter.dimse import QueryRequest, Response, Status
from dicom_adapter.dimse.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, PENDING, PENDING_WITHOUT_SOME_KEYS
from dicom_adapter.services.asking import ASKING_FAILED, Trouble, trouble
from dicom_adapter.services.levels import LEVELS, UNIQUE_KEYS, BadIdentifier, Level
from dicom_adapter.services.query import identifier as identifiers
from dicom_adapter.services.query.answers import Encoder, selected
from dicom_adapter.services.query.capabilities import Capabilities
from dicom_adapter.services.query.identifier import Identifier, Key
from dicom_adapter.services.query.matching import Match
from dicom_adapter.services.query.search import Search

_BREATH: Final = 50
"""Responses between two looks at what else there is to do."""
_RELATIONAL, _COMBINED, _FUZZY = range(3)
Failed = Callable[[Trouble], None]
"""Hears of a search that the store did not answer."""


def extend(sop_class_uid: str, asked: bytes) -> bytes | None:
    """The answer to extended negotiation (PS3.4 C.5.1.1): relational always, combined dates and fuzzy names when asked for."""
    if sop_class_uid not in LEVELS:
        return None
    agreed = [index == _RELATIONAL or (index in (_COMBINED, _FUZZY) and byte == 1) for index, byte in enumerate(asked)]
    return bytes(agreed)


class FindService:
    """The handler of C-FIND. `failed` hears of the store's failures before the requestor does."""

    def __init__(self, store: Capabilities, query: Query, ae_title: str, failed: Failed) -> None:
        self._store = store
        self._query = query
        self._ae_title = ae_title
        self._failed = failed

    async def __call__(self, request: QueryRequest) -> AsyncGenerator[Response, None]:
        """The responses, the last with the final status when it is none of success."""
        try:
            identifier = identifiers.parse(request.identifier, request.transfer_syntax_uid, request.sop_class_uid)
        except BadIdentifier as error:
            yield Response(Status(error.status, error.comment))
            return
        most, sent = self._query.max_results, 0
        search = self._search(identifier, request.extended or b"")
        encoder = Encoder(request.transfer_syntax_uid, identifier.character_sets)
        answer = _Answer(identifier, self._ae_title)
        try:
            async with contextlib.aclosing(search.results()) as results:
                async for page in results:
                    status = Status(PENDING_WITHOUT_SOME_KEYS if search.partial else PENDING)
                    for match in page:
                        if answer.is_repeated(match):
                            continue
                        if sent == most:
                            yield Response(Status(OUT_OF_RESOURCES, messages.more_matches(most)))
                            return
                        yield Response(status, encoder.encode(answer.elements(match)))
                        sent += 1
                        if sent % _BREATH == 0:
                            await asyncio.sleep(0)
        except ASKING_FAILED as error:
            found = trouble(error)
            self._failed(found)
            yield Response(Status(_status(found), found.text))

    def _search(self, identifier: Identifier, extended: bytes) -> Search:
        fuzzy = self._query.fuzzy_matching or extended[_FUZZY : _FUZZY + 1] == b"\1"
        combined = extended[_COMBINED : _COMBINED + 1] == b"\1"
        most = None if identifier.level is Level.PATIENT else self._query.max_results
        return Search(identifier, self._store, fuzzy=fuzzy, combined=combined, most=most)


def _status(found: Trouble) -> int:
    return NOT_AUTHORIZED if found.denied else OUT_OF_RESOURCES if found.passing else CANNOT_UNDERSTAND


def patient(client: DicomwebClient, retry: RetryPolicy, seconds: float) -> Ask:
    """Pages of the store's search; what may succeed on another try is tried again, for so many seconds."""

    async def ask(resource: str, parameters: Parameters, limit: int, offset: int) -> Page:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        for tries in itertools.count(1):
            try:
                return await client.page(resource, parameters, limit, offset)
            except ASKING_FAILED as error:
                found = trouble(error)
                wait = retry.delay(tries, seconds_until(found.retry_after, time.time()) if found.retry_after else None)
                if not found.passing or tries >= retry.attempts or loop.time() + wait > deadline:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError  # not reached: count() has no end

    return ask


def finding(config: Config, client: DicomwebClient, failed: Failed) -> FindService:
    """The service as the configuration wants it."""
    ask = patient(client, policy(config.delivery), float(config.delivery.timeout_seconds))
    return FindService(Capabilities(ask), config.query, config.ae_title, failed)


class _Answer:
    """What of a result goes into a response: the attributes that were asked for (PS3.4 C.4.1.1.3.2), and what is ours to say."""

    def __init__(self, identifier: Identifier, ae_title: str) -> None:
        level = identifier.level
        unique = UNIQUE_KEYS[level]
        self._keys = [key for key in identifier.keys if key.tag != unique]
        self._keys.append(identifier.key(unique) or Key(unique, "LO" if level is Level.PATIENT else "UI"))
        self._patients: set[int] | None = set() if level is Level.PATIENT else None
        self._ours: dict[int, Mapping[str, Any]] = {
            identifiers.QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [str(level)]},
            identifiers.RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [ae_title]},
        }

    def is_repeated(self, match: Match) -> bool:
        """Whether it is a patient that has been sent: a search knows studies, and patients only by them."""
        if self._patients is None:
            return False
        key = hash(tuple(str((match.get(name) or {}).get("Value")) for name in ("00100020", "00100021")))
        repeated = key in self._patients
        self._patients.add(key)
        return repeated

    def elements(self, match: Match) -> dict[int, Mapping[str, Any]]:
        """The response to one result; what the store does not tell is there without a value."""
        found = {}
        for key in self._keys:
            element = match.get(key.name)
            if not isinstance(element, Mapping):
                element = {"vr": key.vr}
            found[key.tag] = selected(element, key) if key.items else element
        if identifiers.INSTANCE_AVAILABILITY in found and not found[identifiers.INSTANCE_AVAILABILITY].get("Value"):
            found[identifiers.INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        return {**found, **self._ours}
