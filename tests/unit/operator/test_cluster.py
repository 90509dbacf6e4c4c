"""What goes to the API server, request by request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from dicom_operator.api import DEPLOYMENT, Json
from dicom_operator.apiserver.cluster import KubeCluster
from dicom_operator.apiserver.transport import Request, Transport
from dicom_operator.errors import ApiConflict, NotLeading

OBJECT: Json = {"kind": "Service", "metadata": {"name": "a", "namespace": "rad", "uid": "u", "resourceVersion": "7"}}
EVENT: Json = {"kind": "Event", "metadata": {"name": "a.1", "namespace": "rad"}}


class Wire:
    """Takes the requests and refuses them."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Json:
        self.sent.append(request)
        raise ApiConflict("changed")


def cluster(wire: Wire, may_write: Callable[[], bool] = lambda: True) -> KubeCluster:
    return KubeCluster(cast(Transport, wire), may_write)


async def test_what_is_pruned_is_exactly_what_was_seen():
    """Meanwhile somebody may have taken the object over: then its resource version has moved, and the API server answers 409."""
    wire = Wire()
    await cluster(wire).delete(OBJECT)
    (request,) = wire.sent
    assert request.body == {"propagationPolicy": "Background", "preconditions": {"uid": "u", "resourceVersion": "7"}}


WRITES: dict[str, Callable[[KubeCluster], Any]] = {
    "apply": lambda it: it.apply(OBJECT),
    "apply_status": lambda it: it.apply_status({**OBJECT, "kind": "DicomAdapter"}),
    "replace_ports": lambda it: it.replace_ports({**OBJECT, "spec": {"ports": []}}),
    "delete": lambda it: it.delete(OBJECT),
    "create_event": lambda it: it.create_event(EVENT),
    "patch_event": lambda it: it.patch_event("rad", "a.1", {}),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_replica_that_does_not_lead_sends_no_write(name):
    wire = Wire()
    with pytest.raises(NotLeading):
        await WRITES[name](cluster(wire, lambda: False))
    assert wire.sent == []


async def test_it_reads_all_the_same():
    wire = Wire()
    with pytest.raises(ApiConflict):
        await cluster(wire, lambda: False).get(DEPLOYMENT, "rad", "a")
    assert [request.verb for request in wire.sent] == ["get"]


class Lists:
    """Answers with listings, one after the other."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.accepts: list[str] = []

    async def read(self, request: Request) -> bytes:
        self.accepts.append(request.accept)
        return self.answers.pop(0)


def listing(version: int, *versions: int, space: str = "") -> bytes:
    items = ",".join(f'{{"metadata":{{"name":"a{at}","namespace":"rad","resourceVersion":"{one}"}}}}' for at, one in enumerate(versions))
    return f'{{"metadata":{{"resourceVersion":{space}"{version}"}},"items":{space}[{items}]}}'.encode()


async def test_versions_that_have_not_changed_are_not_parsed_again(monkeypatch: pytest.MonkeyPatch):
    lists = Lists(
        listing(5, 3, 4), listing(6, 3, 4), listing(7, 3, 7), listing(8), listing(9, space=" "), b'{"metadata":{"resourceVersion":"9"}}'
    )
    parsed: list[bytes] = []

    def parse(data: bytes, _: Request) -> Json:
        parsed.append(data)
        return dict(json.loads(data))

    monkeypatch.setattr("dicom_operator.apiserver.cluster.document", parse)
    it = cluster(cast(Any, lists))
    found = [await it.versions(DEPLOYMENT, None, "") for _ in range(6)]
    assert [one.resource_version for one in found] == [5, 6, 7, 8, 9, 9]
    assert [[item["metadata"]["resourceVersion"] for item in one.items] for one in found] == [
        ["3", "4"],
        ["3", "4"],
        ["3", "7"],
        [],
        [],
        [],
    ]
    assert parsed[1] == b'{"metadata":{"resourceVersion":"6"},"items":[]}'
    assert set(lists.accepts) == {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


async def test_versions_are_told_apart_by_kind_and_namespace():
    lists = Lists(listing(5, 3), listing(5), listing(5, 3), listing(5))
    it = cluster(cast(Any, lists))
    for namespace, count in (("rad", 1), ("mri", 0), ("rad", 1), ("mri", 0)):
        assert len((await it.versions(DEPLOYMENT, namespace, "")).items) == count
