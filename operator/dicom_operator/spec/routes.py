"""`routes` and `routing`: which images go where; every route that could never do anything is refused, as the adapter would."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec import elements, patterns
from dicom_operator.spec.elements import Element
from dicom_operator.spec.patterns import Effort, Match, Pattern
from dicom_operator.spec.section import Section


def routes(spec: Section, destinations: Sequence[str]) -> list[Json]:
    """The section, every route with destinations that there are; `destinations` are their names."""
    sections = list(spec.sections("routes"))
    effort = Effort()
    read = [_route(item, destinations, effort) for item in sections]
    matches = [match for match, _ in read]
    paths = [item.path for item in sections]
    first_decides = routing(spec) == "FirstMatch"
    for index, why in patterns.unreached(matches, paths, effort, first_decides=first_decides):
        raise SpecError(f"{paths[index]}.match", why)
    return [route for _, route in read]


def routing(spec: Section) -> Any:
    """Whether one route decides, or all of them."""
    return spec.choice("routing", "FirstMatch", "AllMatches")


def _route(item: Section, destinations: Sequence[str], effort: Effort) -> tuple[Match, Json]:
    named = item.items("destinations")
    if not named:
        raise SpecError(f"{item.path}.destinations", messages.required())
    for index, name in enumerate(named):
        if name not in destinations:
            nearest = did_you_mean(str(name), destinations, quote="`")
            raise SpecError(f"{item.path}.destinations[{index}]", messages.unknown_destination(str(name), nearest))
    match = item.section("match")
    wanted: Json = {}
    title: Pattern | None = None
    if match.has("callingAETitle"):
        wanted["callingAETitle"] = text = match.text("callingAETitle")
        if why := patterns.why_no_title(text):
            raise SpecError(f"{match.path}.callingAETitle", why)
        title = Pattern(text)
    read = [attribute(inner, effort) for inner in match.sections("attributes")]
    if read:
        wanted["attributes"] = [written for _, written in read]
    return Match(title, tuple(looked for looked, _ in read)), {"match": wanted, "destinations": named}


def attribute(item: Section, effort: Effort) -> tuple[tuple[int, tuple[Pattern, ...]], Json]:
    """What is looked at, and how it is written; raises SpecError."""
    keyword, values = item.text("keyword"), item.items("values")
    element = _element(keyword, f"{item.path}.keyword")
    if not values:
        raise SpecError(f"{item.path}.values", messages.required())
    looked = tuple(Pattern(str(value)) for value in values)
    for index, why in patterns.useless(keyword, element.vr, looked, effort):
        raise SpecError(f"{item.path}.values[{index}]", why)
    return (element.tag, looked), {"keyword": keyword, "values": values}


def _element(name: str, path: str) -> Element:
    element = elements.parse(name)
    if element is None:
        raise SpecError(path, messages.unknown_keyword(name, did_you_mean(name, elements.keywords())))
    shown = name if name == element.keyword else f"'{name}'"
    if why := patterns.why_no_element(shown, element.tag) or patterns.why_not_comparable(element.keyword or name, element.vr):
        raise SpecError(path, why)
    return element


def did_you_mean(word: str, known: Iterable[str], *, quote: str = "'") -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {quote}{by_lower[near[0]]}{quote}?" if near else ""
