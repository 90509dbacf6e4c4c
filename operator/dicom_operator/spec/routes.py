"""`routes` and `routing`: which images go where. What only the adapter can judge, such as a value that no image has, it refuses itself."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec.section import Section

TAG = re.compile(r"[0-9A-Fa-f]{8}")


def routes(spec: Section, destinations: Sequence[str]) -> list[Json]:
    """The section, every route with destinations that there are; `destinations` are their names."""
    found: list[Json] = []
    sections = list(spec.sections("routes"))
    for item in sections:
        route = _route(item, destinations)
        twin = next((index for index, other in enumerate(found) if other["match"] == route["match"]), None)
        if twin is not None:
            raise SpecError(f"{item.path}.match", messages.route_twice(f"{spec.path}.routes[{twin}]"))
        found.append(route)
    for index, route in enumerate(found[:-1]):
        if not route["match"] and routing(spec) == "FirstMatch":
            raise SpecError(f"{sections[index + 1].path}.match", messages.route_never_reached(sections[index].path))
    return found


def routing(spec: Section) -> Any:
    """Whether one route decides, or all of them."""
    return spec.choice("routing", "FirstMatch", "AllMatches")


@functools.cache
def keywords() -> frozenset[str]:
    """The keywords of PS3.6 whose values can be compared; made from pydicom's dictionary, which the adapter uses."""
    return frozenset(resources.files("dicom_operator.spec").joinpath("keywords.txt").read_text("ascii").split())


def _route(item: Section, destinations: Sequence[str]) -> Json:
    named = item.items("destinations")
    if not named:
        raise SpecError(f"{item.path}.destinations", messages.required())
    for index, name in enumerate(named):
        if name not in destinations:
            nearest = did_you_mean(str(name), destinations, quote="`")
            raise SpecError(f"{item.path}.destinations[{index}]", messages.unknown_destination(str(name), nearest))
    match = item.section("match")
    wanted: Json = {}
    if match.has("callingAETitle"):
        wanted["callingAETitle"] = match.text("callingAETitle")
    if attributes := [_attribute(inner) for inner in match.sections("attributes")]:
        wanted["attributes"] = attributes
    return {"match": wanted, "destinations": named}


def _attribute(item: Section) -> Json:
    keyword, values = item.text("keyword"), item.items("values")
    if not TAG.fullmatch(keyword) and keyword not in keywords():
        raise SpecError(f"{item.path}.keyword", messages.unknown_keyword(keyword, did_you_mean(keyword, keywords())))
    if not values:
        raise SpecError(f"{item.path}.values", messages.required())
    return {"keyword": keyword, "values": values}


def did_you_mean(word: str, known: Iterable[str], *, quote: str = "'") -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {quote}{by_lower[near[0]]}{quote}?" if near else ""
