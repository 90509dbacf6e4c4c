"""The destination configuration of Google's adapter, `[{"filter": ..., "dicomweb_destination": ...}]`, as destinations and routes."""

from __future__ import annotations

from typing import Any

import yaml

_SHAPE = '[{"filter": "Modality=MG&AETitle=CT1", "dicomweb_destination": URL}], or name, host and port instead of dicomweb_destination'
_NODE = ("name", "host", "port")


class Fields(dict[str, Any]):
    """Several fields that one flag sets, by their dotted paths."""


def read(text: str) -> Fields:
    """`spec.destinations` and `spec.routes`. Raises ValueError with what to write instead.

    Google's parser takes single quotes, bare words and a comma too many, and so does YAML.
    """
    try:
        entries = yaml.safe_load(text.replace("\t", " "))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"is no JSON; write {_SHAPE}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"is no list of destinations; write {_SHAPE}")
    destinations: list[dict[str, Any]] = []
    routes = []
    for number, entry in enumerate(entries):
        try:
            routes.append({"match": _match(entry), "destinations": [_name(_destination(entry), destinations)]})
        except ValueError as error:
            raise ValueError(f"entry {number} {error}") from error
    return Fields({"spec.destinations": destinations, "spec.routes": routes})


def _match(entry: dict[str, Any]) -> dict[str, Any]:
    r"""`key=value` joined by `&`, all of which must hold; `a\b` as a value means either. An empty filter matches everything."""
    if not isinstance(entry.get("filter"), str):
        raise ValueError("has no filter; write one, or an empty text to match every image")
    match: dict[str, Any] = {}
    for condition in entry["filter"].split("&") if entry["filter"] else ():
        key, equals, value = condition.partition("=")
        if not (key and equals and value) or "=" in value:
            raise ValueError(f"has the condition '{condition[:60]}'; write KEYWORD=VALUE, joined by & when there are several")
        if key != "AETitle":
            match.setdefault("attributes", []).append({"keyword": key, "values": value.split("\\")})
        elif match.setdefault("callingAETitle", value) != value:
            raise ValueError("has two AE titles, which no sender has; write an entry for each")
    return match


def _destination(entry: dict[str, Any]) -> dict[str, Any]:
    url = entry.get("dicomweb_destination")
    if isinstance(url, str) and url:
        return {"dicomStore": url.strip("/").removesuffix("/studies")}
    if missing := [key for key in _NODE if entry.get(key) in (None, "")]:
        raise ValueError(f"has neither dicomweb_destination nor {missing[0]}; write the URL of a store, or name, host and port of a node")
    port = entry["port"]
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    return {"aeTitle": str(entry["name"]), "host": str(entry["host"]), "port": port}


def _name(destination: dict[str, Any], known: list[dict[str, Any]]) -> str:
    """Its name; one that is there already is not made twice."""
    for other in known:
        if destination.items() <= other.items():
            return str(other["name"])
    name = f"destination-{len(known) + 1}"
    known.append({"name": name, **destination})
    return name
