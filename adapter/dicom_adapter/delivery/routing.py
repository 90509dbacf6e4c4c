"""Which destinations an instance goes to: `spec.routes` compared with its sender and its attributes. Pure.

A route matches when the calling AE title is as it says and every attribute that it names has at least one value like one of those it lists.
An attribute that is absent or empty is like nothing, not even `*`. Where no route matches, the instance goes to `spec.dicomStore`: none is
ever dropped for want of a route.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicom_adapter.attributes import Attribute
from dicom_adapter.config import DICOM_STORE, AttributeMatch, Route, Routing
from dicom_adapter.delivery.prefix import Element
from dicom_adapter.delivery.values import texts
from dicom_adapter.patterns import Pattern

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x0008_0016, 0x0008_0018


@dataclass(frozen=True, slots=True)
class Choice:
    """Where an instance goes: destinations in the order of the routes, none twice. `routes`: the indices of those that matched."""

    destinations: tuple[str, ...]
    routes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that a route asks, for whoever wants to know why it matched or not; `found` may be patient data.

    `tag` and `vr` are those of the attribute; the sender's AE title has none.
    """

    what: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    matched: bool
    tag: int | None = None
    vr: str = "AE"


class Router:
    """The routes of one configuration."""

    def __init__(self, routes: Sequence[Route], routing: Routing = Routing.FIRST_MATCH) -> None:
        self._routes = tuple(routes)
        self._all = routing is Routing.ALL_MATCHES

    @property
    def reads(self) -> bool:
        """Whether data sets have to be looked into."""
        return any(route.attributes for route in self._routes)

    @property
    def tags(self) -> frozenset[int]:
        """The elements that are needed, the UIDs that say which instance it is among them."""
        named = {match.attribute.tag for route in self._routes for match in route.attributes}
        return frozenset((*named, SOP_CLASS_UID, SOP_INSTANCE_UID))

    def choose(self, calling_ae_title: str, elements: Mapping[int, Element]) -> Choice:
        """Where the instance goes."""
        matched = []
        for index, route in enumerate(self._routes):
            if all(compared.matched for compared in compare(route, calling_ae_title, elements)):
                matched.append(index)
                if not self._all:
                    break
        if not matched:
            return Choice((DICOM_STORE,))
        return Choice(tuple(dict.fromkeys(name for index in matched for name in self._routes[index].destinations)), tuple(matched))


def compare(route: Route, calling_ae_title: str, elements: Mapping[int, Element]) -> list[Compared]:
    """Everything that a route asks of an instance."""
    found = []
    if route.calling_ae_title is not None:
        matched = route.calling_ae_title.matches(calling_ae_title)
        found.append(Compared("callingAETitle", (route.calling_ae_title.text,), (calling_ae_title,), matched))
    return [*found, *(_compared(match, elements) for match in route.attributes)]


def _compared(match: AttributeMatch, elements: Mapping[int, Element]) -> Compared:
    element = elements.get(match.attribute.tag)
    values = texts(element, elements) if element else ()
    vr = element.vr if element else match.attribute.vr
    matched = any(_like(pattern, value, vr == "PN") for value in values for pattern in match.values)
    return Compared(_named(match.attribute), tuple(pattern.text for pattern in match.values), values, matched, match.attribute.tag, vr)


@functools.cache
def _named(attribute: Attribute) -> str:
    tag = f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
    return f"{attribute.keyword} {tag}" if attribute.keyword else tag


def _like(pattern: Pattern, value: str, person_name: bool) -> bool:
    """Of a person's name any component group may be meant: alphabetic, ideographic, phonetic (PS3.5 6.2.1)."""
    if not person_name or "=" in pattern.text:
        return pattern.matches(value)
    return any(pattern.matches(form) for group in value.split("=") for form in {group, group.rstrip("^ ")} if form)


def other_instance(elements: Mapping[int, Element], sop_class_uid: str, sop_instance_uid: str) -> str | None:
    """What of the data set, as far as it was read, is not what the command says: `SOP Instance UID`, `SOP Class UID` or nothing."""
    for tag, said, what in ((SOP_INSTANCE_UID, sop_instance_uid, "SOP Instance UID"), (SOP_CLASS_UID, sop_class_uid, "SOP Class UID")):
        element = elements.get(tag)
        values = texts(element, elements) if element else ()
        if values and values != (said,):
            return what
    return None
