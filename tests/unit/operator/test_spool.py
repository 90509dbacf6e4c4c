"""An adapter with a spool, reconciled: what is told of the spools, and that nothing with images in it is taken away."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dicom_operator.api import BY_KIND, CLAIM, POD, Json
from dicom_operator.claims import REFUSED_AGAIN_SECONDS
from dicom_operator.errors import ApiForbidden
from dicom_operator.observed.backlog import rounded
from dicom_operator.probe import parse_report
from dicom_operator.reconcile import HOLD_SECONDS, PENDING_SECONDS, SPOOL_SECONDS
from dicom_operator.workqueue import Done, RequeueAfter
from tests.unit.operator.builders import SPOOL, claim, ready_pods, report, spooled
from tests.unit.operator.world import World

ADDRESS = {"loadBalancer": {"ingress": [{"ip": "10.8.0.4"}]}}


def tell(world: World, kind: str, status: Json) -> None:
    found = copy.deepcopy(world.cluster.objects[kind, "ct-east"])
    found["status"] = status
    world.cache.put(BY_KIND[kind], world.cluster.put(found))


def pods(world: World, count: int, ready: int | None = None) -> None:
    """What the controller of StatefulSets does."""
    up = count if ready is None else ready
    counts = {"replicas": count, "updatedReplicas": count, "readyReplicas": up, "availableReplicas": up}
    tell(world, "StatefulSet", {"observedGeneration": 1, **counts})
    for number in range(count):
        for resource, body in ((POD, spooled(number)), (CLAIM, claim(number))):
            body["metadata"].setdefault("uid", f"claim-{number}")
            if (resource.kind, body["metadata"]["name"]) not in world.cluster.objects:
                world.cache.put(resource, world.cluster.put(body))


async def served(replicas: int = 1, **says: Any) -> World:
    """A world whose adapter is Ready."""
    world = World(**SPOOL, replicas=replicas)
    await world.run()
    tell(world, "Service", ADDRESS)
    pods(world, replicas)
    for number in range(replicas):
        world.reports[f"ct-east-{number}"] = report(**says)
    await world.run()
    assert world.condition("Ready") == ("True", "Available")
    return world


def spool(world: World) -> Json:
    return dict(world.cluster.objects["DicomAdapter", "ct-east"]["status"]["spool"])


def events(world: World) -> list[tuple[str, str, str]]:
    return [(found["type"], found["reason"], found["message"]) for found in world.cluster.events if "Adapter" not in found["reason"]]


async def test_a_stateful_set_with_orders_and_no_deployment():
    world = await served()
    assert ("Deployment", "ct-east") not in world.cluster.objects
    data = world.cluster.objects["ConfigMap", "ct-east"]["data"]
    assert json.loads(data["orders.json"]) == {"generation": 1, "replicas": 1, "suspend": False}
    assert world.condition("Delivering") == ("True", "Delivering")
    assert spool(world) == {"waiting": 0, "failed": 0}


async def test_a_change_that_only_gives_orders_rolls_no_pod():
    world = await served()
    template = copy.deepcopy(world.cluster.objects["StatefulSet", "ct-east"]["spec"]["template"])
    world.change(**SPOOL, replicas=2, suspend=True)
    await world.run()
    found = world.cluster.objects["StatefulSet", "ct-east"]["spec"]
    assert (found["template"], found["replicas"]) == (template, 2)
    data = world.cluster.objects["ConfigMap", "ct-east"]["data"]
    assert json.loads(data["orders.json"]) == {"generation": 2, "replicas": 2, "suspend": True}


async def test_suspended_the_pods_stay():
    world = await served()
    world.change(**SPOOL, suspend=True)
    await world.run()
    assert world.condition("Ready") == ("False", "Suspended")
    assert world.condition("WorkloadAvailable") == ("True", "MinimumReplicasAvailable")


async def test_counts_are_written_at_most_every_half_minute():
    world = await served()
    world.reports["ct-east-0"] = report(1204)
    world.now += SPOOL_SECONDS - 1
    assert await world.run() == RequeueAfter(1)
    assert world.writes == []
    world.now += 1
    await world.run()
    assert spool(world) == {"waiting": 1200, "failed": 0, "oldestTime": "2026-11-23T10:00:00Z"}
    world.now += SPOOL_SECONDS
    world.reports["ct-east-0"] = report(1199)
    await world.run()
    assert world.writes == []


@pytest.mark.parametrize(("count", "told"), [(0, 0), (7, 7), (99, 99), (104, 100), (1204, 1200), (98765, 99000), (995, 1000)])
def test_counts_are_rounded_to_two_digits(count, told):
    assert rounded(count) == told


async def test_a_backlog_is_told_at_once_in_the_words_of_the_adapter_and_does_not_unready_it():
    world = await served(replicas=2)
    world.reports["ct-east-1"] = report(5000, reason="Backlogged")
    await world.run()
    assert world.condition("Delivering") == ("False", "Backlogged")
    world.reports["ct-east-0"] = report(9000, reason="SpoolFull")
    await world.run()
    assert (world.condition("Delivering"), world.message("Delivering")) == (("False", "SpoolFull"), "it is SpoolFull")
    assert world.condition("Ready") == ("True", "Available")
    world.reports |= {"ct-east-0": report(), "ct-east-1": report()}
    await world.run()
    assert events(world) == [
        ("Warning", "DeliveryBacklogged", "it is Backlogged"),
        ("Warning", "SpoolFull", "it is SpoolFull"),
        ("Normal", "DeliveryRecovered", "images are delivered as they come again"),
    ]


async def test_what_was_told_stays_until_the_pods_have_been_asked():
    world = await served(reason="Backlogged", instances=3)
    world.reports.clear()  # the operator has been restarted
    await world.run()
    assert world.writes == []
    world.reports["ct-east-0"] = None
    await world.run()
    assert world.condition("Delivering") == ("Unknown", "NotProbed")
    assert world.message("Delivering") == "no pod has told yet what is in its spool"
    assert spool(world)["waiting"] == 3


async def test_a_faulty_spool_unreadies():
    world = await served()
    pods(world, 1, ready=0)
    faulty = report(3, reason="SpoolFaulty")
    world.reports["ct-east-0"] = type(faulty)(False, "SpoolFaulty", "pod ct-east-0 could not fsync", "Reachable", "", faulty.spool)
    await world.run()
    assert (world.condition("Ready"), world.message("Ready")) == (("False", "SpoolFaulty"), "pod ct-east-0 could not fsync")
    assert [event["message"] for event in world.cluster.events if event["reason"] == "AdapterNotReady"] == ["pod ct-east-0 could not fsync"]


async def test_refused_images_are_told_of_once_an_hour():
    world = await served()
    for failed, hours in ((1, 0.1), (4, 0.5), (5, 1)):
        world.now += hours * REFUSED_AGAIN_SECONDS
        world.reports["ct-east-0"] = report(failed=failed)
        await world.run()
    sentence = "'dicomStore' refused {}: `kubectl exec ct-east-0 -- dicom-adapter spool list --failed` shows why"
    assert events(world) == [("Warning", "InstancesRefused", sentence.format(images)) for images in ("1 image", "5 images")]


async def test_fewer_replicas_drain_first_and_the_condition_says_so():
    """Row 44."""
    world = await served(replicas=2)
    world.reports["ct-east-1"] = report(7)
    world.change(**SPOOL, replicas=1)
    await world.run()
    assert world.cluster.objects["StatefulSet", "ct-east"]["spec"]["replicas"] == 2
    assert world.message("Reconciling") == "pod ct-east-1 leaves when its images for 'dicomStore' are delivered"
    assert world.condition("Ready") == ("True", "Available")
    world.reports["ct-east-1"] = report(closed=True, generation=2)
    pods(world, 2, ready=1)
    await world.run()
    assert world.cluster.objects["StatefulSet", "ct-east"]["spec"]["replicas"] == 1
    assert ("PersistentVolumeClaim", "spool-ct-east-1") in world.cluster.objects
    pods(world, 1)
    world.now += HOLD_SECONDS
    await world.run()
    assert "Reconciling" not in json.dumps(world.cluster.objects["DicomAdapter", "ct-east"]["status"])


async def test_there_and_back_again_nothing_serves_less_than_before():
    world = World()
    await world.run()
    tell(world, "Service", ADDRESS)
    full = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    tell(world, "Deployment", {"observedGeneration": 1, **full})
    world.change(**SPOOL)
    await world.run()
    assert world.condition("Ready") == ("False", "RollingOut")
    assert {("Deployment", "ct-east"), ("StatefulSet", "ct-east")} <= world.cluster.objects.keys()
    pods(world, 1)
    world.reports["ct-east-0"] = report(5)
    await world.run()
    assert ("Deployment", "ct-east") not in world.cluster.objects
    world.see()
    world.change(**{**SPOOL, "delivery": {"acknowledge": "AfterStore"}})
    await world.run()
    assert ("Deployment", "ct-east") not in world.cluster.objects
    assert world.message("Reconciling") == "pod ct-east-0 leaves when its images for 'dicomStore' are delivered"
    hashed = world.cluster.objects["StatefulSet", "ct-east"]["spec"]["template"]["metadata"]["annotations"]
    rolled = spooled(0, hashed["dicomadapter.io/config-hash"])
    rolled["metadata"]["uid"] = "rolled"
    world.cache.put(POD, world.cluster.put(rolled))
    world.reports["rolled"] = report()
    await world.run()
    assert {("Deployment", "ct-east"), ("StatefulSet", "ct-east")} <= world.cluster.objects.keys()
    world.cache.put(POD, world.cluster.put(*ready_pods()))
    tell(world, "Deployment", {"observedGeneration": 1, **full})
    await world.run()
    assert ("StatefulSet", "ct-east") not in world.cluster.objects
    assert ("PersistentVolumeClaim", "spool-ct-east-0") in world.cluster.objects


async def test_deleted_with_a_backlog_the_claims_are_kept_labelled_and_told():
    """Row 45."""
    world = await served(replicas=3)
    world.reports |= {"ct-east-0": report(1200), "ct-east-2": report(4)}
    await world.run()
    world.reports["ct-east-2"] = None  # it says nothing any more: it has what it had
    await world.run()
    world.cluster.drop("DicomAdapter", "ct-east")
    world.cache.forget(BY_KIND["DicomAdapter"], "rad", "ct-east")
    assert await world.run() == Done()
    claims = "claims 'spool-ct-east-0', 'spool-ct-east-2' are kept"
    sentence = f"1204 images are undelivered: {claims}; a DicomAdapter of the same name delivers them"
    assert events(world) == [("Warning", "SpoolKept", sentence)]
    kept = [
        name for (_, name), found in world.cluster.objects.items() if "dicomadapter.io/spool-kept" in found["metadata"].get("labels", {})
    ]
    assert kept == ["spool-ct-east-0", "spool-ct-east-2"]
    await world.run()
    assert len(events(world)) == 1


async def test_deleted_without_a_backlog_nothing_is_said():
    world = await served(instances=2)
    world.reports["ct-east-0"] = report()
    await world.run()
    body = copy.deepcopy(world.cluster.objects["DicomAdapter", "ct-east"])
    body["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:00Z"
    world.cache.put(BY_KIND["DicomAdapter"], world.cluster.put(body))
    await world.run()
    assert events(world) == []


async def test_one_image_on_one_claim_and_the_label_cannot_be_set():
    world = await served(instances=1)
    world.cluster.failures["label", "PersistentVolumeClaim"] = ApiForbidden("no", namespace="rad")
    world.cluster.drop("DicomAdapter", "ct-east")
    world.cache.forget(BY_KIND["DicomAdapter"], "rad", "ct-east")
    await world.run()
    (event,) = events(world)
    assert event[2] == "1 image is undelivered: claim 'spool-ct-east-0' is kept; a DicomAdapter of the same name delivers it"


async def test_the_claims_of_an_earlier_adapter_are_taken_over():
    world = World(**SPOOL)
    for number in (0, 2):
        body = claim(number, **{"dicomadapter.io/spool-kept": "true"})
        world.cache.put(CLAIM, world.cluster.put(body))
    await world.run()
    assert world.cluster.objects["StatefulSet", "ct-east"]["spec"]["replicas"] == 3
    world.see()
    claims = [found for (kind, _), found in world.cluster.objects.items() if kind == CLAIM.kind]
    assert all("dicomadapter.io/spool-kept" not in found["metadata"]["labels"] for found in claims)


async def test_pods_that_may_not_be_made_are_told_in_the_words_of_the_event():
    """A StatefulSet has no condition for it."""
    world = World(**SPOOL)
    text = "create Pod ct-east-0 in StatefulSet ct-east failed error: exceeded quota: team"
    world.cluster.service_events = [
        {"type": "Normal", "reason": "Other", "message": "a"},
        {"type": "Warning", "reason": "FailedCreate", "message": text, "lastTimestamp": "2026-11-23T10:00:00Z"},
    ]
    await world.run()
    tell(world, "Service", ADDRESS)
    tell(world, "StatefulSet", {"observedGeneration": 1, "replicas": 0})
    assert await world.run() == RequeueAfter(PENDING_SECONDS)
    assert (world.condition("Ready"), world.message("Ready")) == (("False", "ReplicaFailure"), f"FailedCreate: {text}")


GOOD: dict[str, Any] = {
    "version": 1,
    "ready": True,
    "reason": "Ready",
    "message": "m",
    "store": {"reason": "Reachable", "message": "m"},
    "associations": {"active": 0},
    "orders": {"generation": 7, "closed": True},
    "spool": {
        "reason": "Backlogged",
        "message": "it\nwaits",
        "oldestTime": None,
        "destinations": [{"name": "dicomStore", "instances": 2, "failed": 1}, {"name": "archive", "instances": 0, "failed": 0}],
    },
}


def changed(**parts: Any) -> bytes:
    return json.dumps({**GOOD, **{key: {**GOOD[key], **value} if value else None for key, value in parts.items()}}).encode()


def test_a_report_of_a_spool():
    found = parse_report(changed())
    assert found is not None
    assert found.spool is not None
    assert (found.spool.instances, found.spool.failed, found.spool.message) == (2, 1, "it waits")
    assert (found.spool.generation, found.spool.closed, found.spool.oldest) == (7, True, "")
    open_still = parse_report(changed(associations={"active": 1}))
    assert open_still is not None
    assert open_still.spool is not None
    assert not open_still.spool.closed
    without = parse_report(changed(orders={}, spool={}))
    assert without is not None
    assert without.spool is None


@pytest.mark.parametrize(
    "part",
    [
        {"spool": {"reason": "Fine"}},
        {"spool": {"destinations": [{"name": "a", "instances": -1, "failed": 0}]}},
        {"spool": {"destinations": [{"name": "a", "instances": True, "failed": 0}]}},
        {"spool": {"destinations": [{"name": 5, "instances": 1, "failed": 0}]}},
        {"spool": {"destinations": 5}},
        {"spool": {"oldestTime": 5}},
        {"orders": {"generation": "new"}},
        {"associations": {}},
    ],
    ids=str,
)
def test_a_report_that_makes_no_sense_is_none(part):
    assert parse_report(changed(**part)) is None
