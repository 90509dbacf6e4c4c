"""The reconciler against a cluster in memory: for what the real API server cannot be made to do at the right moment."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from dicom_operator.api import ADAPTER, BY_KIND, POD, Json
from dicom_operator.children import NAME_TAKEN_SECONDS
from dicom_operator.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound, ApiUnauthorized, ApiUnavailable, NotLeading
from dicom_operator.reconcile import FIGHT_CORRECTIONS, HOLD_SECONDS, PENDING_SECONDS, UNRESOLVED_SECONDS, UNSEEN_SECONDS
from dicom_operator.workqueue import Done, RequeueAfter, Retry
from tests.unit.operator.builders import pod, ready_pods
from tests.unit.operator.world import World


async def test_reconciling_twice_writes_once():
    world = World(replicas=2)
    assert isinstance(await world.run(), RequeueAfter)
    assert [call[1] for call in world.writes] == [
        "ServiceAccount", "ConfigMap", "Deployment", "Service", "Service", "NetworkPolicy", "PodDisruptionBudget", "DicomAdapter",
    ]  # fmt: skip
    for _ in range(2):
        assert await world.run() == RequeueAfter(PENDING_SECONDS)
        assert world.cluster.calls == []  # not even a read
    world.see()
    await world.run()
    assert world.cluster.calls == []


def _tell(world: World, kind: str, status: Json) -> None:
    found = copy.deepcopy(world.cluster.objects[kind, "ct-east"])
    found["status"] = status
    world.cache.put(BY_KIND[kind], world.cluster.put(found))


ADDRESS: Json = {"loadBalancer": {"ingress": [{"ip": "10.8.0.4"}]}}
STARTED: Json = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2}
SERVES = {**STARTED, "readyReplicas": 2, "availableReplicas": 2}


def pods_are_ready(world: World, count: int) -> None:
    """What a kubelet tells."""
    for one in ready_pods(count):
        world.cache.put(POD, world.cluster.put(one))


async def test_a_deployment_that_counts_pods_of_before_serves_when_its_pods_do():
    """Suspended and resumed at once: for a moment it counts the pod that is gone already."""
    world = World()
    await world.run()
    _tell(world, "Service", ADDRESS)
    _tell(world, "Deployment", dict.fromkeys(SERVES, 1))
    await world.run()
    assert world.condition("Ready") == ("False", "RollingOut")
    pods_are_ready(world, 1)
    await world.run()
    assert world.condition("Ready") == ("True", "Available")


async def test_on_the_way_to_ready_two_writes_of_the_status_suffice():
    """The first says all conditions; what then only goes on waits for the last."""
    world = World(replicas=2)
    await world.run()
    assert world.condition("Ready") == ("False", "RollingOut")
    for kind, told in [("Deployment", STARTED), ("Service", ADDRESS), ("Deployment", {**STARTED, "readyReplicas": 1})]:
        _tell(world, kind, told)
        await world.run()
        assert world.writes == []
        world.now += HOLD_SECONDS / 4
    pods_are_ready(world, 2)
    _tell(world, "Deployment", SERVES)
    await world.run()
    assert world.writes == [("status", "DicomAdapter", "ct-east")]
    assert world.condition("Ready") == ("True", "Available")


async def test_what_only_goes_on_is_told_after_a_moment():
    world = World(replicas=2)
    await world.run()
    _tell(world, "Deployment", STARTED)
    assert await world.run() == RequeueAfter(UNSEEN_SECONDS)  # nobody sees how many pods are not ready
    world.now += HOLD_SECONDS - 1
    _tell(world, "Service", ADDRESS)  # it is still the first that waits
    assert await world.run() == RequeueAfter(1)
    world.now += 1
    assert await world.run() == RequeueAfter(600)
    assert world.cluster.objects["DicomAdapter", "ct-east"]["status"]["replicas"] == 2
    assert world.condition("AddressAssigned") == ("True", "Assigned")
    _tell(world, "Deployment", {**STARTED, "readyReplicas": 1})
    assert await world.run() == RequeueAfter(HOLD_SECONDS)


@pytest.mark.parametrize("paused", [False, True], ids=["a spec", "a pause"])
async def test_what_changed_while_the_status_was_written_is_served_although_its_event_comes_too_late(paused: bool):
    """The answer to our own write tells of it first, so that the event of the watch is no news."""
    world = World()
    await world.run()
    new = copy.deepcopy(world.cluster.objects["DicomAdapter", "ct-east"])
    if paused:
        found = copy.deepcopy(new)
        found["metadata"]["annotations"] = {"dicomadapter.io/reconcile": "disabled"}
        world.cache.put(ADAPTER, world.cluster.put(found))
    else:
        world.change(aeTitle="NOT\\VALID")
    new["metadata"]["generation"] = 3
    event = world.cluster.put(new)  # the user mends it
    assert await world.run() == RequeueAfter(0.0)
    assert not world.cache.put(ADAPTER, event)
    await world.run()
    assert world.condition() == ("True", "Applied")
    assert world.cluster.objects["DicomAdapter", "ct-east"]["status"]["observedGeneration"] == 3


async def test_how_many_pods_there_are_is_told_in_the_end():
    world = World(replicas=2)
    await world.run()
    _tell(world, "Deployment", STARTED)
    await world.run()
    world.now += UNSEEN_SECONDS - 1
    assert await world.run() == RequeueAfter(1)
    assert world.cluster.objects["DicomAdapter", "ct-east"]["status"]["replicas"] == 0
    world.now += 1
    await world.run()
    assert world.cluster.objects["DicomAdapter", "ct-east"]["status"]["replicas"] == 2


async def test_a_trouble_is_told_at_once_and_taken_back_at_once():
    world = World(replicas=2)
    await world.run()
    _tell(world, "Deployment", STARTED)
    await world.run()
    _tell(world, "Service", {"loadBalancer": {"ingress": [{"ip": "8.8.8.8"}]}})
    await world.run()
    assert world.condition("AddressAssigned") == ("False", "PublicAddress")
    _tell(world, "Service", {})
    await world.run()
    assert world.condition("AddressAssigned") == ("False", "Pending")
    quota = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    _tell(world, "Deployment", {**STARTED, "conditions": [quota]})
    await world.run()
    assert world.condition("Ready") == ("False", "ReplicaFailure")
    world.change(replicas=2, port=104)
    await world.run()
    assert world.cluster.objects["DicomAdapter", "ct-east"]["status"]["observedGeneration"] == 2


async def test_a_view_that_is_behind_is_corrected_by_reading():
    """Restarted against an older view, the children are not in the cache: they are read, found good and left alone."""
    world = World()
    await world.run()
    fresh = World()
    fresh.cluster = world.cluster
    restarted = World()
    restarted.cluster.objects = copy.deepcopy(world.cluster.objects)
    restarted.cache.put(ADAPTER, restarted.cluster.objects["DicomAdapter", "ct-east"])
    await restarted.run()
    assert len(restarted.cluster.calls) == 6
    assert restarted.writes == []


async def test_a_child_that_was_replaced_behind_our_back_is_not_written():
    """The cache says it is ours; meanwhile somebody deleted it and made one of the same name: the uid tells, and nothing is forced."""
    world = World()
    await world.run()
    world.cluster.put(
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "ct-east", "namespace": "rad", "uid": "theirs"}, "spec": {"a": 1}}
    )
    world.change(port=104)
    assert isinstance(await world.run(), Retry)
    assert world.cluster.objects["Service", "ct-east"]["spec"] == {"a": 1}
    assert await world.run() == RequeueAfter(NAME_TAKEN_SECONDS)
    assert world.cluster.objects["Service", "ct-east"]["spec"] == {"a": 1}
    assert world.condition() == ("False", "NameConflict")


async def test_children_of_a_deleted_adapter_of_the_same_name_are_no_conflict():
    """Deleted and made again at once: the garbage collector has not been there yet, and nobody has to do anything."""
    world = World()
    await world.run()
    again = World()
    for kind in ("Deployment", "ConfigMap"):
        left = copy.deepcopy(world.cluster.objects[kind, "ct-east"])
        left["metadata"]["ownerReferences"][0]["uid"] = "the one before"
        again.cluster.put(left)
    assert isinstance(await again.run(), Retry)
    assert again.condition() == ("False", "ApplyFailed")
    assert again.cluster.events == []
    assert [call for call in again.writes if call[0] != "status"] == []
    again.cluster.objects["Deployment", "ct-east"]["metadata"]["ownerReferences"][0]["kind"] = "Somebody"
    again.cluster.objects.pop(("ConfigMap", "ct-east"))
    await again.run()
    assert again.condition() == ("False", "NameConflict")


async def test_gone_or_going_adapters_are_left_to_the_garbage_collector():
    world = World()
    await world.run()
    going = copy.deepcopy(world.cluster.objects["DicomAdapter", "ct-east"])
    going["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    world.cache.put(ADAPTER, world.cluster.put(going))
    assert await world.run() == Done()
    assert world.cluster.calls == []
    world.cache.forget(ADAPTER, "rad", "ct-east")
    assert await world.run() == Done()
    assert "ct-east" not in world.metrics.render().decode()


async def test_an_invalid_spec_waits_for_a_new_one():
    world = World(aeTitle="A\\B")
    assert await world.run() == Done()
    assert world.condition() == ("False", "InvalidSpec")
    assert await world.run() == Done()
    assert world.writes == []


@pytest.mark.parametrize(
    ("failure", "outcome", "condition"),
    [
        (("apply", "Service", ApiUnavailable("slow down", code=429)), Retry(0.0), ("False", "ApplyFailed")),
        (("apply", "Service", ApiUnavailable("no answer")), Retry(0.0), ("False", "ApplyFailed")),
        (("get", "Service", ApiUnavailable("no answer")), Retry(0.0), ("False", "ApplyFailed")),
        (
            ("apply", "Service", ApiForbidden("no", verb="patch", resource="services", namespace="rad")),
            RequeueAfter(20.0),
            ("False", "Forbidden"),
        ),
        (("apply", "Service", RuntimeError("a bug")), Retry(0.0), ("False", "ApplyFailed")),
    ],
)
async def test_failures_are_told_and_repeated(failure, outcome, condition):
    verb, kind, error = failure
    world = World()
    world.cluster.failures[verb, kind] = error
    assert await world.run() == outcome
    assert world.condition() == condition
    world.cluster.failures.clear()
    await world.run()
    assert world.condition() == ("True", "Applied")


async def test_retry_after_is_kept():
    world = World()
    error = ApiUnavailable("slow down", code=429)
    error.retry_after = 17.0
    world.cluster.failures["apply", "Deployment"] = error
    assert await world.run() == Retry(17.0)
    assert ("apply", "Service", "ct-east") in world.writes  # one child that fails does not hold the others up


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiNotFound("gone"), Done()),
        (ApiConflict("another one"), Retry()),
        (ApiUnavailable("no answer"), Retry()),
        (ApiUnauthorized("no"), Retry()),
        (ApiForbidden("no"), RequeueAfter(20.0)),
    ],
)
async def test_a_status_that_cannot_be_written(error: ApiError, outcome):
    world = World()
    world.cluster.failures["status", "DicomAdapter"] = error
    assert await world.run() == outcome
    assert world.cluster.events == []  # what was not written is not told


async def test_a_defect_whose_status_fails_too_is_still_retried():
    world = World()
    world.cluster.failures = {("apply", "Service"): RuntimeError("a bug"), ("status", "DicomAdapter"): RuntimeError("another")}
    assert await world.run() == Retry()


async def test_two_controllers_do_not_fight_at_full_speed():
    world = World()
    await world.run()
    for _ in range(FIGHT_CORRECTIONS):
        theirs = copy.deepcopy(world.cluster.objects["Deployment", "ct-east"])
        theirs["spec"]["replicas"] = 7
        world.cache.put(BY_KIND["Deployment"], world.cluster.put(theirs))
        await world.run()
        assert world.cluster.objects["Deployment", "ct-east"]["spec"]["replicas"] == 1
    world.cache.put(BY_KIND["Deployment"], world.cluster.put(theirs))
    outcome = await world.run()
    assert outcome == RequeueAfter(10.0)
    assert world.cluster.calls == []
    world.now += 10
    await world.run()
    assert ("apply", "Deployment", "ct-east") in world.writes


async def test_what_is_no_longer_desired_is_pruned_by_its_owner_alone():
    world = World(replicas=2)
    await world.run()
    foreign = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "other", "namespace": "rad", "uid": "x"}}
    world.cache.put(BY_KIND["PodDisruptionBudget"], world.cluster.put(foreign))
    world.change(replicas=1)
    await world.run()
    assert [call for call in world.writes if call[0] == "delete"] == [("delete", "PodDisruptionBudget", "ct-east")]


def accounts(world: World) -> list[str]:
    return sorted(name for kind, name in world.cluster.objects if kind == "ServiceAccount")


async def test_an_account_that_pods_use_is_kept_although_the_deployment_cannot_move():
    """A Deployment that is refused goes on with the old account: without it the old pods get no token for the store."""
    world = World()
    await world.run()
    serve(world)
    world.change(serviceAccount={"name": "imaging"})
    world.cluster.failures["apply", "Deployment"] = ApiForbidden("no", verb="patch", resource="deployments", namespace="rad")
    await world.run()
    assert accounts(world) == ["ct-east", "imaging"]


async def test_an_account_that_draining_pods_use_is_kept_until_they_end():
    world = World()
    await world.run()
    draining = pod()
    draining["spec"]["serviceAccountName"] = "ct-east"
    draining["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    world.cache.put(BY_KIND["Pod"], world.cluster.put(draining))
    world.change(serviceAccount={"name": "imaging"}, suspend=True)
    await world.run()
    assert accounts(world) == ["ct-east", "imaging"]
    world.cache.remove(BY_KIND["Pod"], draining)
    await world.run()
    assert accounts(world) == ["imaging"]


def serve(world: World) -> None:
    """The Deployment controller rolls it out."""
    found = copy.deepcopy(world.cluster.objects["Deployment", "ct-east"])
    found["status"] = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    world.cache.put(BY_KIND["Deployment"], world.cluster.put(found))


async def test_a_name_that_cannot_be_resolved_yet_is_asked_for_again_soon():
    """A cloud makes the name before the DNS has it; it must not be believed for ten minutes that the address is internal."""
    world = World()
    await world.run()
    found = copy.deepcopy(world.cluster.objects["Service", "ct-east"])
    found["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}
    world.cache.put(BY_KIND["Service"], world.cluster.put(found))
    await world.run()
    world.now += HOLD_SECONDS
    assert await world.run() == RequeueAfter(UNRESOLVED_SECONDS)
    world.names["lb.example"] = True
    assert await world.run() == RequeueAfter(600.0)
    assert world.condition("AddressAssigned") == ("False", "PublicAddress")


@pytest.mark.parametrize("verb", ["apply", "status"])
async def test_a_replica_that_leads_no_more_stops_in_the_middle_and_tells_nobody(verb):
    world = World()
    for kind in ("Service", "DicomAdapter"):
        world.cluster.failures[verb, kind] = NotLeading()
    assert await world.run() == Done()
    assert ("status", "DicomAdapter", "ct-east") not in world.cluster.calls[:-1]
    assert world.cluster.events == []
    assert 'dicom_operator_reconcile_total{outcome="NotLeading"} 1.0' in world.metrics.render().decode()


def told(reason: str, message: str, kind: str = "Warning", when: str = "2026-11-23T00:00:00Z") -> Json:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": when}


async def test_an_address_that_does_not_come_shows_what_was_last_told_of_the_service():
    world = World()
    world.cluster.service_events = [
        told("SyncLoadBalancerFailed", "no quota", when="2026-11-23T00:00:01Z"),
        told("SyncLoadBalancerFailed", "Error syncing load balancer:\n no subnet", when="2026-11-23T00:00:02Z"),
        told("EnsuringLoadBalancer", "Ensuring load balancer", "Normal", when="2026-11-23T00:00:03Z"),
        {**told("FailedToUpdateEndpointSlices", "x", when="2026-11-23T00:00:04Z"), "source": {"component": "endpoint-slice-controller"}},
    ]
    assert await world.run() == RequeueAfter(PENDING_SECONDS)
    sentence = "Service 'ct-east' has no address yet; its last event: SyncLoadBalancerFailed: Error syncing load balancer: no subnet"
    assert world.message("AddressAssigned") == sentence
    world.time += timedelta(minutes=10)
    assert await world.run() == RequeueAfter(300)  # the longer it waits, the less often we ask


async def test_events_that_may_not_be_read_are_done_without():
    world = World()
    world.cluster.failures["events", "Service"] = ApiForbidden("no", verb="list", resource="events")
    await world.run()
    assert world.condition("Applied") == ("True", "Applied")
    assert world.message("AddressAssigned").endswith("`kubectl describe service ct-east` shows what its load balancer says")
