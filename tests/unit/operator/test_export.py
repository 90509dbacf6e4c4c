"""A DicomExport: what it is read as, what it becomes, what is told of it. The reconciler is the same as a DicomAdapter's."""

from __future__ import annotations

import copy
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_adapter.export import document
from dicom_operator import api, messages
from dicom_operator.api import ConditionType, EventReason, Key, Reason
from dicom_operator.errors import SpecError
from dicom_operator.events import transitions
from dicom_operator.model import export
from dicom_operator.observed.objects import Observed, PodReport, owner_key
from dicom_operator.probe import parse_report
from dicom_operator.render.export import desired
from dicom_operator.status import changes
from dicom_operator.status.conditions import Condition, find
from dicom_operator.status.document import View, build
from dicom_operator.status.export import export_parts
from dicom_operator.workqueue import RequeueAfter
from tests.unit.operator.builders import CONFIG, READY, STORE, pod, serving
from tests.unit.operator.world import FakeCluster, World

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[3]
PUBSUB = {"subscription": "projects/p/subscriptions/to-pacs"}
HEALTHCARE = "projects/p/locations/europe-west4/datasets/d/dicomStores/s"
SOURCE: dict[str, Any] = {"dicomStore": HEALTHCARE, "pubsub": PUBSUB}
PEER: dict[str, Any] = {"aeTitle": "PACS", "host": "10.1.2.3", "port": 104}
POLLED: dict[str, Any] = {"source": {"dicomStore": STORE, "poll": {}}, "ledger": {"persistentVolumeClaim": "exported"}}
KEY = Key("rad", "to-pacs", "DicomExport")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def body(found: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A DicomExport as the API server holds it; None takes a field away."""
    merged = {"source": SOURCE, "destination": {"peer": PEER}, **spec}
    return {
        "apiVersion": "dicomadapter.io/v1alpha1",
        "kind": "DicomExport",
        "metadata": {"name": "to-pacs", "namespace": "rad", "uid": "uid-2", "generation": 3, "resourceVersion": "10"},
        "spec": {key: value for key, value in merged.items() if value is not None},
        "status": found or {},
    }


def every_field() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "examples" / "every-field-export.yaml").read_text())["spec"])


CASES: dict[str, dict[str, Any]] = {
    "export-smallest": {},
    "export-full": {
        **every_field(),
        "ledger": None,
        "source": {**SOURCE, "credentials": every_field()["source"]["credentials"]},
        "replicas": 2,
    },
    "export-polled": POLLED,
    "export-web": {"destination": {"dicomweb": {"url": STORE, "credentials": {"bearerTokenSecret": {"name": "archive-token"}}}}},
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    rendered = yaml.safe_dump_all(desired(export.parse(body(**CASES[case])), CONFIG), sort_keys=True, width=1000)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert rendered == path.read_text(), "UPDATE_GOLDEN=1 writes the new one; review it as you would a release note"


@pytest.mark.parametrize("spec", [*CASES.values(), every_field()], ids=[*CASES, "every field"])
def test_the_exporter_reads_what_the_operator_writes(spec):
    """One vocabulary: what is rendered, and the resource as it is, mean the same to the exporter."""
    found = export.parse(body(**spec))
    config = next(child for child in desired(found, CONFIG) if child["kind"] == "ConfigMap")
    read = document.load(config["data"]["dicomexport.yaml"], {}, aliases={})
    assert (read.name, read.namespace) == ("to-pacs", "rad")
    assert read == document.load(json.dumps(body(**spec)), {}, aliases={})


def test_with_a_ledger_there_is_one_pod_at_a_time_and_its_volume_is_the_users():
    (workload,) = [child for child in desired(export.parse(body(**POLLED)), CONFIG) if child["kind"] == "Deployment"]
    assert workload["spec"]["strategy"] == {"type": "Recreate"}
    template = workload["spec"]["template"]["spec"]
    assert "--ledger=/var/lib/dicom-adapter/exported.db" in template["containers"][0]["args"]
    assert {"name": "ledger", "persistentVolumeClaim": {"claimName": "exported"}} in template["volumes"]
    assert template["securityContext"]["fsGroup"] == 65532


def test_nobody_connects_to_it_but_who_reads_its_metrics():
    children = {child["kind"]: child for child in desired(export.parse(body()), CONFIG)}
    assert "Service" not in children
    (ingress,) = children["NetworkPolicy"]["spec"]["ingress"]
    assert ingress["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 104, "protocol": "TCP"}]} in children["NetworkPolicy"]["spec"][
        "egress"
    ]


@pytest.mark.parametrize(
    ("spec", "path", "sentence"),
    [
        ({"source": {"dicomStore": STORE}}, "spec.source", messages.export.pubsub_or_poll()),
        (
            {"destination": {"peer": {"aeTitle": "PACS", "host": "pacs", "port": 2762, "tls": {"serverName": "dicom://pacs"}}}},
            "spec.destination.peer.tls.serverName",
            messages.not_a_host("dicom://pacs"),
        ),
        (
            {"destination": {"peer": {"aeTitle": "PACS", "host": "pacs", "port": 2762, "tls": {"clientCertificateSecret": {}}}}},
            "spec.destination.peer.tls.clientCertificateSecret.name",
            messages.required(),
        ),
        (
            {**POLLED, "source": {"dicomStore": STORE, "poll": {}, "reconcile": {}}},
            "spec.source.reconcile",
            messages.export.reconcile_of_poll(),
        ),
        ({**POLLED, "ledger": None}, "spec.ledger", messages.export.ledger_needed()),
        ({**POLLED, "replicas": 2}, "spec.replicas", messages.export.one_searches()),
        (
            {**POLLED, "delivery": {"deadLetter": {"topic": "projects/p/topics/t-1"}}},
            "spec.delivery.deadLetter",
            messages.export.dead_letter_of_poll(),
        ),
        ({"ledger": {"persistentVolumeClaim": "exported"}}, "spec.ledger", messages.export.ledger_of_nothing()),
        ({"destination": {}}, "spec.destination", messages.export.peer_or_dicomweb()),
        ({"destination": {"peer": {"aeTitle": "PACS", "host": "a"}}}, "spec.destination.peer.port", "is required"),
        ({"source": {"dicomStore": STORE, "pubsub": PUBSUB}}, "spec.source.credentials", messages.export.google_account()),
        ({"source": {**SOURCE, "pubsub": {"subscription": "x"}}}, "spec.source.pubsub.subscription", messages.export.subscription("x")),
        ({"source": {**SOURCE, "pubsub": {**PUBSUB, "endpoint": "x"}}}, "spec.source.pubsub.endpoint", messages.export.endpoint()),
        ({"source": {**SOURCE, "pubsub": {**PUBSUB, "endpoint": "http://a:x"}}}, "spec.source.pubsub.endpoint", messages.export.endpoint()),
        (
            {"source": {**SOURCE, "pubsub": {**PUBSUB, "endpoint": "http://emulator:8085"}}},
            "spec.source.pubsub.allowInsecure",
            messages.export.endpoint_in_the_clear(),
        ),
        ({"filter": {}}, "spec.filter", messages.export.empty_filter()),
        ({"filter": {"modalities": ["ct"]}}, "spec.filter.modalities[0]", messages.export.modality("ct")),
        ({"delivery": {"deadLetter": {"topic": "x"}}}, "spec.delivery.deadLetter.topic", messages.export.topic("x")),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_a_sentence(spec, path, sentence):
    with pytest.raises(SpecError) as refused:
        export.parse(body(**spec))
    assert (refused.value.path, refused.value.message) == (path, sentence)


def answer(**more: Any) -> bytes:
    """An exporter's /status."""
    said = {
        "version": 1,
        "ready": True,
        "reason": "Ready",
        "message": "",
        "source": {"name": "s", "reason": "Reachable", "message": "the source answers"},
        "destination": {"name": "d", "reason": "Reachable", "message": "the destination answers"},
        "delivering": {"reason": "Delivering", "message": "what arrives is delivered"},
        "exported": 1204,
        "waiting": 3,
        "retained": 0,
        "oldestMessageTime": "2026-11-25T10:00:00Z",
    }
    return json.dumps({**said, **more}).encode()


DOWN = {
    "destination": {"name": "d", "reason": "Rejected", "message": "it does not know EXPORTADAPTER"},
    "delivering": {"reason": "DestinationDown", "message": "it does not know EXPORTADAPTER"},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"exported": -1},
        {"waiting": True},
        {"retained": "1"},
        {"source": {"reason": "Lost", "message": ""}},
        {"destination": {"reason": "Delivering", "message": ""}},
        {"delivering": {"reason": "Reachable", "message": ""}},
        {"oldestMessageTime": 5},
        {"source": None},
    ],
    ids=str,
)
def test_an_answer_that_is_none(wrong):
    assert parse_report(answer()) is not None
    assert parse_report(answer(**wrong)) is None


def told(*answers: bytes, previous: dict[str, Any] | None = None, asked: bool = True) -> dict[str, Any]:
    """The status of a DicomExport whose pods say this."""
    pods = [pod(f"to-pacs-7c9-{number}", podIP="10.0.0.1", conditions=[READY]) for number in range(max(1, len(answers)))]
    reports: dict[str, PodReport | None] = {}
    if asked:
        reports = {found["metadata"]["uid"]: None for found in pods}
        reports |= {found["metadata"]["uid"]: parse_report(text) for found, text in zip(pods, answers, strict=False)}
    workload = {**serving(), "metadata": {"name": "to-pacs", "namespace": "rad", "generation": 1}}
    observed = Observed({("Deployment", "to-pacs"): workload}, pods, reports)
    found = body(previous)
    good = Condition(ConditionType.APPLIED, "True", Reason.APPLIED, "all objects are as the spec wants them")
    return build(View(found, export.parse(found), good, observed), CONFIG, NOW, export_parts)


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}


def test_the_pods_are_believed_word_for_word_and_none_of_it_gates_ready():
    found = told(answer(), answer(**DOWN))
    assert conditions(found) == {
        "Ready": ("True", "Available"),
        "Applied": ("True", "Applied"),
        "WorkloadAvailable": ("True", "MinimumReplicasAvailable"),
        "SourceReachable": ("True", "Reachable"),
        "DestinationReachable": ("False", "Rejected"),
        "Delivering": ("False", "DestinationDown"),
    }
    assert find(found, ConditionType.DESTINATION_REACHABLE)["message"] == "it does not know EXPORTADAPTER"
    assert find(found, ConditionType.READY)["message"] == "what arrives is sent to PACS@10.1.2.3:104"
    assert (found["exported"], found["waiting"], found["retained"]) == (2400, 6, 0)
    assert (found["destination"], found["oldestMessageTime"]) == ("PACS@10.1.2.3:104", "2026-11-25T10:00:00Z")
    assert found["selector"].endswith("app.kubernetes.io/component=exporter")


def test_silence_is_unknown_and_a_new_operator_leaves_what_was_told():
    before = told(answer(**DOWN))
    assert conditions(told(previous=before))["DestinationReachable"] == ("Unknown", "NotProbed")
    assert "DestinationReachable" not in conditions(told())
    kept = told(previous=before, asked=False)
    assert (conditions(kept), kept["exported"]) == (conditions(before), 1200)
    nobody = {"reason": "NotProbed", "message": "nothing has been asked of it yet"}
    assert conditions(told(answer(source=nobody)))["SourceReachable"] == ("Unknown", "NotProbed")


def test_what_moves_by_itself_is_counts_only():
    assert changes.only_counts(told(answer()), told(answer(exported=2000, oldestMessageTime=None)))
    assert not changes.only_counts(told(answer()), told(answer(**DOWN)))


def test_each_transition_is_told_once():
    up, down = told(answer()), told(answer(**DOWN))
    assert [(note.type, note.reason) for note in transitions({}, up, "DicomExport")] == [("Normal", EventReason.EXPORT_READY)]
    assert [(note.reason, note.message) for note in transitions(up, down, "DicomExport")] == [
        (EventReason.DESTINATION_UNAVAILABLE, "it does not know EXPORTADAPTER")
    ]
    assert [(note.reason, note.message) for note in transitions(down, up, "DicomExport")] == [
        (EventReason.DESTINATION_RECOVERED, "the destination can be reached again")
    ]
    poison = told(answer(delivering={"reason": "PoisonMessages", "message": "some are refused"}))
    assert [note.reason for note in transitions(up, poison, "DicomExport")] == [EventReason.POISON_MESSAGES]
    assert [note.reason for note in transitions(poison, up, "DicomExport")] == [EventReason.DELIVERY_RECOVERED]


class Exported(World):
    """A World with a DicomExport."""

    def __init__(self, **spec: Any) -> None:
        self.export = body(**spec)
        super().__init__(FakeCluster())
        self.cache.put(api.EXPORT, self.cluster.put(copy.deepcopy(self.export)))

    def status(self) -> dict[str, Any]:
        return dict(self.cluster.objects["DicomExport", "to-pacs"]["status"])


async def test_the_same_reconciler_makes_its_children_and_writes_its_status():
    world = Exported(replicas=2)
    assert isinstance(await world.reconciler.process(KEY), RequeueAfter)
    kinds = {kind for kind, _ in world.cluster.objects if kind != "DicomExport"}
    assert kinds == {"ServiceAccount", "ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget"}
    assert conditions(world.status())["Applied"] == ("True", "Applied")
    for kind in kinds:
        child = world.cluster.objects[kind, "to-pacs"]
        assert owner_key(child) == KEY
        assert owner_key({**child, "metadata": {**child["metadata"], "ownerReferences": []}}) == KEY
    again = len(world.cluster.calls)
    world.see()
    await world.reconciler.process(KEY)
    assert [call for call in world.cluster.calls[again:] if call[0] not in ("get",)] == []


async def test_a_name_that_an_adapter_has_is_a_conflict_and_nothing_of_it_is_touched():
    world = World()
    await world.run()
    before = {name: found["metadata"]["resourceVersion"] for name, found in world.cluster.objects.items()}
    named = body()
    named["metadata"]["name"] = "ct-east"
    world.cache.put(api.EXPORT, world.cluster.put(named))
    await world.reconciler.process(Key("rad", "ct-east", "DicomExport"))
    found = world.cluster.objects.pop(("DicomExport", "ct-east"))["status"]
    assert find(found, ConditionType.APPLIED)["message"] == (
        "ServiceAccount 'ct-east' exists and is not controlled by this DicomExport; rename the DicomExport or delete the ServiceAccount"
    )
    assert {name: found["metadata"]["resourceVersion"] for name, found in world.cluster.objects.items()} == before


async def test_an_adapter_does_not_listen_to_the_exporter_that_has_its_name():
    """Its StoreReachable would tell of the exporter's source."""
    world = World()
    theirs = pod(podIP="10.0.0.9")
    theirs["metadata"] |= {"resourceVersion": "5"}
    theirs["metadata"]["labels"] |= {"app.kubernetes.io/component": "exporter"}
    world.cache.put(api.POD, theirs)
    world.reports[theirs["metadata"]["uid"]] = parse_report(answer())
    await world.run()
    assert not find(world.cluster.objects["DicomAdapter", "ct-east"]["status"], ConditionType.STORE_REACHABLE)


@pytest.mark.parametrize(
    ("spec", "reason", "sentence"),
    [
        ({"suspend": True}, "Suspended", messages.export.suspended()),
        ({"replicas": 0}, "ScaledToZero", messages.export.scaled_to_zero()),
        ({"source": {"dicomStore": STORE}}, "InvalidSpec", f"spec.source: {messages.export.pubsub_or_poll()}"),
        ({"image": "evil/image:1"}, "InvalidSpec", None),
    ],
    ids=str,
)
async def test_why_it_is_not_ready(spec, reason, sentence):
    world = Exported(**spec)
    await world.reconciler.process(KEY)
    world.see()
    world.now += 60
    await world.reconciler.process(KEY)
    ready = find(world.status(), ConditionType.READY)
    assert ready["reason"] == reason
    assert sentence in (None, ready["message"])
