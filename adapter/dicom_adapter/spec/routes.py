"""`spec.routes`: what goes where; every route that could never do anything is refused."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_adapter import attributes, messages
from dicom_adapter.config import DICOM_STORE, AttributeMatch, Destination, Route, Routing
from dicom_adapter.patterns import Pattern
from dicom_adapter.reader import Reader, did_you_mean

MOST_ROUTES, MOST_IN_A_ROUTE, MOST_ATTRIBUTES, MOST_VALUES = 64, 8, 16, 64


def read(spec: Reader, routing: Routing, destinations: Sequence[Destination]) -> tuple[Route, ...]:
    """The routes, in their order."""
    names = (*(destination.name for destination in destinations), DICOM_STORE)
    readers = spec.mappings("routes", MOST_ROUTES)
    routes = [_route(reader, names) for reader in readers]
    for index, (reader, route) in enumerate(zip(readers, routes, strict=True)):
        _check_reached(spec, reader, route, routes[:index], routing)
    return tuple(routes)


def _route(reader: Reader, names: Sequence[str]) -> Route:
    reader.close(("match", "destinations"))
    match = reader.mapping("match")
    found = reader.texts("destinations", (), MOST_IN_A_ROUTE)
    if not found:
        reader.problem("destinations", "is missing; write the names of destinations, or dicomStore")
    for index, name in enumerate(found):
        if name not in names:
            reader.problem(f"destinations[{index}]", messages.no_such_destination(name, did_you_mean(name, names, quote="`")))
    if match is None:
        return Route(found)
    match.close(("callingAETitle", "attributes"))
    title = match.text("callingAETitle")
    if len(title.strip("*")) > 16 or "\\" in title or title != title.strip():
        match.problem("callingAETitle", f"{title[:40]!r} matches no AE title; write at most 16 characters, * and ? among them if wanted")
    read = (attribute_match(inner) for inner in match.mappings("attributes", MOST_ATTRIBUTES))
    return Route(found, Pattern(title) if title else None, tuple(inner for inner in read if inner))


def attribute_match(reader: Reader) -> AttributeMatch | None:
    """An attribute and the values that are looked for."""
    reader.close(("keyword", "values"))
    name = reader.text("keyword", required="write the keyword of an attribute, such as Modality, or its tag as ggggeeee")
    patterns = tuple(Pattern(text) for text in reader.texts("values", (), MOST_VALUES))
    if not patterns:
        reader.problem("values", "is missing; write the values to match, * and ? among them if wanted")
    if not name:
        return None
    try:
        attribute = attributes.parse(name)
    except LookupError:
        nearest = did_you_mean(name, attributes.keywords())
        reader.problem("keyword", f"{name[:80]!r} is neither the keyword of an attribute nor its tag as ggggeeee{nearest}")
        return None
    except ValueError as error:
        reader.problem("keyword", str(error))
        return None
    for index, pattern in enumerate(patterns):
        if why := attributes.why_never(attribute, pattern):
            reader.problem(f"values[{index}]", why)
        elif wider := next((other for other in patterns[:index] if other.covers(pattern)), None):
            reader.problem(f"values[{index}]", f"'{pattern.text}' adds nothing to '{wider.text}'; remove it")
    return AttributeMatch(attribute, patterns)


def _check_reached(spec: Reader, reader: Reader, route: Route, before: Sequence[Route], routing: Routing) -> None:
    for index, other in enumerate(before):
        where = spec.where(f"routes[{index}]")
        if (other.calling_ae_title, other.attributes) == (route.calling_ae_title, route.attributes):
            reader.problem("match", f"is that of {where} as well; write the destinations of both into one route")
            return
        if routing is Routing.FIRST_MATCH and _covers(other, route):
            reader.problem("match", f"is never reached: {where} matches all of it; move it before that one, or remove it")
            return


def _covers(wide: Route, narrow: Route) -> bool:
    """Whether `wide` certainly matches whatever `narrow` matches."""
    if wide.calling_ae_title and not (narrow.calling_ae_title and wide.calling_ae_title.covers(narrow.calling_ae_title)):
        return False
    return all(any(_implies(inner, outer) for inner in narrow.attributes) for outer in wide.attributes)


def _implies(narrow: AttributeMatch, wide: AttributeMatch) -> bool:
    same = narrow.attribute.tag == wide.attribute.tag
    return same and all(any(pattern.covers(value) for pattern in wide.values) for value in narrow.values)
