"""Which instances a retrieval is about: QIDO-RS below the level that was asked for (PS3.18 10.6)."""

from __future__ import annotations

from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.services.asking import at_once
from dicom_adapter.services.retrieval.selection import Reference, Search, Selection

MOST_INSTANCES = 0xFFFF
"""The numbers of sub-operations in a response are no larger (PS3.7 E.1)."""

_PAGE = 2000
_SEARCHES = 8


class TooMany(Exception):
    """More instances than can be counted."""


async def find(client: DicomwebClient, selection: Selection) -> list[Reference]:
    """The instances, in the store's order, each once. Raises TooMany and what searches raise."""
    searches = selection.searches()
    found: dict[Reference, None] = {}
    for start in range(0, len(searches), _SEARCHES):
        for references in await at_once(_one(client, selection, search) for search in searches[start : start + _SEARCHES]):
            found |= dict.fromkeys(references)
        if len(found) > MOST_INSTANCES:
            raise TooMany
    return list(found)


async def _one(client: DicomwebClient, selection: Selection, search: Search) -> list[Reference]:
    found: list[Reference] = []
    async for match in client.find(search.resource, search.parameters, page=_PAGE):
        reference = selection.accepts(match)
        if reference is not None:
            found.append(reference)
            if len(found) > MOST_INSTANCES:
                raise TooMany
    return found
