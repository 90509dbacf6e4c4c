"""`dicom-adapter route`: which routes and destinations DICOM files would take, and why. Nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from dicom_adapter import part10
from dicom_adapter.config import Config, Routing
from dicom_adapter.delivery.prefix import Element, Prefix, Unreadable
from dicom_adapter.delivery.routing import Choice, Compared, Router, compare, other_instance
from dicom_adapter.delivery.verdict import Verdict, mismatch, unreadable

VERSION = 1
_PIECE = 1 << 20
_PATIENT = 0x0010
"""The group whose values identify a patient; those of persons' names do, wherever they are."""


@dataclass(frozen=True, slots=True)
class _Route:
    """How one route compares. `matched` is None for one that is not looked at any more."""

    index: int
    destinations: tuple[str, ...]
    matched: bool | None
    compared: tuple[Compared, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """What becomes of one file."""

    name: str
    routes: tuple[_Route, ...] = ()
    choice: Choice | None = None
    refused: Verdict | None = None
    why_not: str = field(default="")


def route(config: Config, files: Sequence[str], calling_ae_title: str, out: TextIO, *, as_json: bool) -> bool:
    """Tells of each file; whether all of them would be taken."""
    found = [_of_file(config, name, calling_ae_title) for name in files]
    if as_json:
        document = {
            "version": VERSION,
            "callingAETitle": calling_ae_title,
            "routing": str(config.routing),
            "files": [_entry(one) for one in found],
        }
        out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        out.writelines(line for one in found for line in _lines(one))
    return all(one.choice for one in found)


def _of_file(config: Config, name: str, calling_ae_title: str) -> _File:
    router = Router(config.routes, config.routing)
    try:
        meta, elements = _read(name, router)
    except OSError as error:
        return _File(name, why_not=f"cannot be read ({error.strerror or 'no access'})")
    except ValueError as error:
        return _File(name, why_not=str(error))
    except Unreadable as error:
        return _File(name, refused=unreadable(error.position, error.why))
    if router.reads and (what := other_instance(elements, meta.sop_class_uid, meta.sop_instance_uid)):
        return _File(name, refused=mismatch(what))
    choice = router.choose(calling_ae_title, elements)
    return _File(name, tuple(_routes(config, calling_ae_title, elements)), choice)


def _read(name: str, router: Router) -> tuple[part10.FileMeta, Mapping[int, Element]]:
    with Path(name).open("rb") as file:
        head = file.read(_PIECE)
        offset, meta = part10.data_set_offset(head), part10.file_meta(head)
        if offset is None or meta is None:
            raise ValueError("is no DICOM file (PS3.10)")
        prefix = Prefix(meta.transfer_syntax_uid, router.tags if router.reads else ())
        piece = head[offset:]
        while piece and not prefix.complete:
            busy = prefix.feed(piece)
            while busy:
                busy = prefix.feed()
            piece = file.read(_PIECE)
        prefix.finish()
        return meta, prefix.elements


def _routes(config: Config, calling_ae_title: str, elements: Mapping[int, Element]) -> Iterator[_Route]:
    decided = False
    for index, one in enumerate(config.routes):
        if decided:
            yield _Route(index, one.destinations, None)
            continue
        compared = tuple(compare(one, calling_ae_title, elements))
        matched = all(each.matched for each in compared)
        decided = matched and config.routing is Routing.FIRST_MATCH
        yield _Route(index, one.destinations, matched, compared)


# -- how it is shown -------------------------------------------------------------------------------


def _is_shown(compared: Compared) -> bool:
    """Whether a value may be on a screen: no patient's name, number or birthday."""
    return compared.tag is None or (compared.tag >> 16 != _PATIENT and compared.vr != "PN")


def _lines(one: _File) -> Iterator[str]:
    yield f"{one.name}\n"
    if one.why_not:
        yield f"  {one.why_not}\n"
        return
    if one.refused:
        yield f"  refused with {one.refused.status:04X} {one.refused.comment}\n"
        return
    for each in one.routes:
        mark = "-" if each.matched is None else "yes" if each.matched else "no"
        yield f"  routes[{each.index}]  {mark:<4} {_why(each)}\n"
    assert one.choice  # noqa: S101 -- else it has said why
    because = "" if one.choice.routes else ", as no route matches"
    yield f"  goes to {', '.join(one.choice.destinations)}{because}\n"


def _why(each: _Route) -> str:
    if each.matched is None:
        return "not looked at: the route before it decides"
    if not each.compared:
        return "matches every image"
    deciding = [compared for compared in each.compared if compared.matched is each.matched]
    return "; ".join(_reason(compared) for compared in deciding)


def _reason(compared: Compared) -> str:
    wanted = " or ".join(compared.wanted)
    if not compared.found:
        return f"{compared.what} is absent or empty, not {wanted}"
    if not _is_shown(compared):
        return f"{compared.what} {'is like' if compared.matched else 'is not'} {wanted}"
    found = "\\".join(compared.found)[:100]
    return f"{compared.what} is {found}" + ("" if compared.matched else f", not {wanted}")


def _entry(one: _File) -> dict[str, Any]:
    return {
        "file": one.name,
        "destinations": list(one.choice.destinations) if one.choice else [],
        "matchedRoutes": list(one.choice.routes) if one.choice else [],
        "refused": {"status": f"{one.refused.status:04X}", "comment": one.refused.comment} if one.refused else None,
        "error": one.why_not or None,
        "routes": [
            {
                "index": each.index,
                "destinations": list(each.destinations),
                "matched": each.matched,
                "compared": [
                    {
                        "what": compared.what,
                        "wanted": list(compared.wanted),
                        "found": list(compared.found) if _is_shown(compared) else None,
                        "matched": compared.matched,
                    }
                    for compared in each.compared
                ],
            }
            for each in one.routes
        ],
    }
