"""Whether a live object already has everything that we would apply. Pure.

The API server adds defaults, other managers add fields, and both are left alone, as server-side apply leaves them: only the
fields that we declare are compared, lists as the API merges them (KEP-555: by key where the kind has one, as a whole elsewhere).
An object without a difference is not applied again, so that neither a restart nor an idle hour writes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dicom_operator.quantity import same_quantity

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""Keys of the list-maps in what we render; `ports` differ between pods and Services."""

SERVICE_PORT = ("port", "protocol")

ATOMIC = frozenset({"selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "ingress", "egress"})
"""Fields that the API replaces as a whole and fills in nothing: one more label in a selector, or a port range in a rule, is a change."""


def difference(desired: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """The path of the first declared field that the live object does not have, or None."""
    return _compare(desired, live, "", "")


def foreign_ports(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether a Service has ports that we do not want: an apply leaves those that somebody else has put in."""
    if desired["kind"] != "Service":
        return False
    wanted = {_port(item) for item in desired["spec"]["ports"]}
    return any(_port(item) not in wanted for item in live["spec"].get("ports") or ())


def with_ports(desired: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The live Service with the wanted ports and no others; one that is put back keeps its node port."""
    before = {item.get("name"): item for item in live["spec"].get("ports") or ()}
    ports = [
        {**{key: value for key, value in before.get(item["name"], {}).items() if key == "nodePort"}, **item}
        for item in desired["spec"]["ports"]
    ]
    return {**live, "spec": {**live["spec"], "ports": ports}}


def foreign_container_ports(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The wanted containers of a workload whose ports are not those that we want, with those ports."""
    found = []
    for wanted in _containers(desired):
        there = next((item for item in _containers(live) if item["name"] == wanted["name"]), {})
        numbers = {item["containerPort"] for item in wanted["ports"]}
        if any(item["containerPort"] not in numbers for item in there.get("ports") or ()):
            found.append({"name": wanted["name"], "ports": wanted["ports"]})
    return found


def _containers(workload: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    return workload["spec"]["template"]["spec"]["containers"] if "template" in workload.get("spec", {}) else ()


def _port(item: Mapping[str, Any]) -> tuple[Any, Any]:
    return item["port"], item.get("protocol", "TCP")


def _compare(desired: Any, live: Any, path: str, field: str) -> str | None:
    if live is None and not isinstance(desired, bool | int):
        return None if not desired else path  # the API server drops what is empty
    if field in ATOMIC:
        return None if _dense(desired) == _dense(live) else path
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            return path
        quantities = field in ("requests", "limits")
        for name, value in desired.items():
            if quantities and same_quantity(value, live.get(name)):
                continue
            if found := _compare(value, live.get(name), _join(path, name), name):
                return found
        return None
    if isinstance(desired, list):
        return _compare_lists(desired, live, path, field)
    return None if desired == live and type(desired) is type(live) else path


def _compare_lists(desired: Sequence[Any], live: Any, path: str, field: str) -> str | None:
    if not isinstance(live, list):
        return path
    keys = _keys(field, desired)
    if keys == SERVICE_PORT and len(live) > len(desired):
        return path  # the load balancer has the DICOM port and nothing else
    if keys:
        by_key = {tuple(item.get(key) for key in keys): item for item in live}
        for item in desired:
            key = tuple(item.get(name) for name in keys)
            here = f"{path}[{','.join(str(part) for part in key)}]"
            if key not in by_key:
                return here
            if found := _compare(item, by_key[key], here, ""):
                return found
        return None
    if len(desired) != len(live):
        return path
    for index, (one, other) in enumerate(zip(desired, live, strict=True)):
        if found := _compare(one, other, f"{path}[{index}]", ""):
            return found
    return None


def _dense(value: Any) -> Any:
    """Without empty fields, which the API server drops."""
    if isinstance(value, Mapping):
        return {name: _dense(item) for name, item in value.items() if item is not None and item != {} and item != []}
    return [_dense(item) for item in value] if isinstance(value, list) else value


def _keys(field: str, items: Sequence[Any]) -> tuple[str, ...]:
    if field == "ports" and items and isinstance(items[0], Mapping):
        if "containerPort" in items[0]:
            return ("containerPort", "protocol")
        return SERVICE_PORT if "targetPort" in items[0] else ()  # those of a NetworkPolicy have no key
    return MERGE_KEYS.get(field, ())


def _join(path: str, name: str) -> str:
    if "." in name or "/" in name:
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name
