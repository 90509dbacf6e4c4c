"""`spec.routes`: what goes where; every route that could never do anything is refused."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_adapter import attributes, messages, patterns
from dicom_adapter.config import DICOM_STORE, AttributeMatch, Destination, Route, Routing
from dicom_adapter.patterns import Effort, Match, Pattern
from dicom_adapter.reader import Reader, did_you_mean

MOST_ROUTES, MOST_IN_A_ROUTE, MOST_ATTRIBUTES, MOST_VALUES = 64, 8, 16, 64


def read(spec: Reader, routing: Routing, destinations: Sequence[Destination]) -> tuple[Route, ...]:
    """The routes, in their order."""
    names = (*(destination.name for destination in destinations), DICOM_STORE)
    readers = spec.mappings("routes", MOST_ROUTES)
    effort = Effort()
    routes = [_route(reader, names, effort) for reader in readers]
    matches = [_match(route) for route in routes]
    where = [spec.where(f"routes[{index}]") for index in range(len(routes))]
    for index, why in patterns.unreached(matches, where, effort, first_decides=routing is Routing.FIRST_MATCH):
        readers[index].problem("match", why)
    return tuple(routes)


def _route(reader: Reader, names: Sequence[str], effort: Effort) -> Route:
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
    if why := patterns.why_no_title(title):
        match.problem("callingAETitle", why)
    read = (attribute_match(inner, effort) for inner in match.mappings("attributes", MOST_ATTRIBUTES))
    return Route(found, Pattern(title) if title else None, tuple(inner for inner in read if inner))


def attribute_match(reader: Reader, effort: Effort) -> AttributeMatch | None:
    """An attribute and the values that are looked for."""
    reader.close(("keyword", "values"))
    name = reader.text("keyword", required="write the keyword of an attribute, such as Modality, or its tag as ggggeeee")
    values = tuple(Pattern(text) for text in reader.texts("values", (), MOST_VALUES))
    if not values:
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
    for index, why in patterns.useless(attribute.name, attribute.vr, values, effort):
        reader.problem(f"values[{index}]", why)
    return AttributeMatch(attribute, values)


def _match(route: Route) -> Match:
    return Match(route.calling_ae_title, tuple((wanted.attribute.tag, wanted.values) for wanted in route.attributes))
