"""What goes to the API server, request by request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from dicom_operator.api import DEPLOYMENT, Json
from dicom_operator.cluster import KubeCluster
from dicom_operator.errors import ApiConflict, NotLeading
from dicom_operator.transport import Request, Transport

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
