"""What people read, word for word, and /status with the worst thing first."""

from __future__ import annotations

import io
import json

import pytest
from prometheus_client import CollectorRegistry

from dicom_adapter import logs
from dicom_adapter.config import LogLevel
from dicom_adapter.export import messages
from dicom_adapter.export.events import Reason as Reach
from dicom_adapter.export.events import Side, Trouble
from dicom_adapter.export.metrics import RESULTS, ExportMetrics
from dicom_adapter.export.observer import ExportObserver
from dicom_adapter.export.pubsub import Subscription
from dicom_adapter.export.state import ExportState
from dicom_adapter.state import Reason

SENTENCES = {
    messages.pubsub_silent("10.0.0.1:443"): "Pub/Sub at 10.0.0.1:443 gives no answer: is a firewall or NetworkPolicy in the way?",
    messages.pubsub_unreachable("Unreachable, DNS: x not found"): "Pub/Sub cannot be reached: Unreachable, DNS: x not found",
    messages.pubsub_not_found("projects/p/subscriptions/s"): (
        "Pub/Sub knows no projects/p/subscriptions/s: create it or correct spec.source.pubsub.subscription"
    ),
    messages.pubsub_throttled(): "Pub/Sub asks to slow down (429): raise its quota",
    messages.pubsub_answers(503): "Pub/Sub answers 503",
    messages.SETTINGS_UNKNOWN: (
        "the subscription's settings cannot be read (roles/pubsub.viewer): 10 s and no dead-letter policy are assumed"
    ),
    messages.no_ledger("/x"): "--ledger: '/x' cannot be opened as a ledger; name a file in a directory that can be written to",
    messages.not_swept("why"): "what notifications were lost of could not be looked for: why",
    messages.credentials_unusable("Secret", "s"): "Secret 's' is not usable; correct it, no restart is needed",
    messages.source_unreachable("why"): "the source cannot be reached: why",
    messages.source_answers(401, "Unauthorized"): "the source answers 401 Unauthorized: check spec.source.credentials",
    messages.source_answers(403, "PERMISSION_DENIED"): (
        "the source answers 403 PERMISSION_DENIED: grant the adapter's account roles/healthcare.dicomViewer on the dataset"
    ),
    messages.source_answers(503, "UNAVAILABLE"): "the source answers 503 UNAVAILABLE",
    messages.source_broken("an instance that breaks off"): "the source gives an instance that breaks off",
    messages.no_part10(): "what the source gives is no Part 10 stream",
    messages.other_instance(): "what the source gives is another instance",
    messages.nothing_found(): "the source knows no instance of it",
    messages.destination_unreachable("why"): "the destination cannot be reached: why",
    messages.destination_answers(403, "Forbidden"): "the destination answers 403 Forbidden: check spec.destination.dicomweb.credentials",
    messages.destination_answers(503, "x"): "the destination answers 503 x",
    messages.destination_says("Http_503"): "the destination answers Http_503",
    messages.peer_rejects("PACS", "ME", 1, 7, "why"): "'PACS': why; correct spec.destination.peer.aeTitle",
    messages.peer_rejects("PACS", "ME", 3, 2, "why"): "'PACS': why",
    messages.class_refused("PACS", "CT Image Storage"): "'PACS' takes no CT Image Storage",
    messages.gone("/studies/1"): "/studies/1: the source answers 404 for a minute and a half: deleted meanwhile, acknowledged",
    messages.not_published("/studies/1", "t"): "/studies/1: cannot be published to t; kept, tried again every 10 minutes",
    messages.POISON: (
        "some images do not get through and are tried again every 10 minutes: the log names them; a topic in "
        "spec.delivery.deadLetter.topic or a dead-letter policy of the subscription sets them aside"
    ),
    messages.RETENTION: "the oldest message that waits will be lost by the subscription's messageRetentionDuration within a day",
    messages.drained(0): "drained: nothing was left in hand",
    messages.drained(3): "drained: 3 messages given back to Pub/Sub",
}


@pytest.mark.parametrize(("said", "wanted"), SENTENCES.items())
def test_sentences(said, wanted):
    assert said == wanted


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def state(clock: Clock, oldest: float | None = None) -> ExportState:
    return ExportState(source="store", destination="PACS@h:104", waiting=lambda: 3, oldest=lambda: oldest, clock=clock)


def test_status_as_it_begins_and_when_it_works():
    found = state(Clock())
    document = found.document()
    assert (document["ready"], document["reason"], document["verdict"]["level"]) == (False, "Starting", "bad")
    assert document["destination"] == {"name": "PACS@h:104", "reason": "NotProbed", "message": "nothing has been asked of it yet"}
    found.become(Reason.READY, "ready")
    found.learn(Side.SOURCE, None)
    found.learn(Side.DESTINATION, None)
    document = found.document()
    assert document["verdict"] == {"level": "ok", "message": "exports what arrives in store to PACS@h:104"}
    assert document["delivering"] == {"reason": "Delivering", "message": "what arrives is delivered"}
    assert (document["waiting"], document["oldestMessageTime"], document["lastError"]) == (3, None, None)
    found.become(Reason.DRAINING, "draining")
    assert found.verdict() == ("warn", "draining")


def test_the_worst_thing_comes_first():
    clock = Clock()
    found = state(clock, oldest=clock.now - 6.5 * 86_400)
    found.become(Reason.READY, "ready")
    found.retained = 1
    assert found.delivering()[0] == "PoisonMessages"
    assert found.verdict()[0] == "warn"
    found.learn(Side.SOURCE, Trouble(Reach.UNREACHABLE, "away"))
    assert found.delivering() == ("SourceDown", "away")
    found.learn(Side.DESTINATION, Trouble(Reach.REFUSED, "down"))
    assert found.delivering() == ("DestinationDown", "down")
    assert found.verdict() == ("bad", "down")
    found.retention = 7 * 86_400
    assert found.delivering() == ("RetentionEndsSoon", messages.RETENTION)
    assert found.document()["oldestMessageTime"] == "1970-01-06T01:46:40.000Z"


def test_without_its_messages_a_store_that_answers_is_no_source():
    found = state(Clock())
    found.learn(Side.SOURCE, None)
    found.subscription = Trouble(Reach.SUBSCRIPTION_NOT_FOUND, "none")
    assert found.reach(Side.SOURCE).reason is Reach.SUBSCRIPTION_NOT_FOUND


def test_the_log_tells_of_each_change_once():
    clock, stream, registry = Clock(), io.StringIO(), CollectorRegistry()
    log = logs.configure(stream, "json", LogLevel.INFO)
    found = state(clock)
    metrics = ExportMetrics(registry, outstanding=lambda: 0, oldest_age=lambda: 0)
    observer = ExportObserver(metrics, found, log, peer="PACS@h:104", clock=clock, now=clock)
    down = Trouble(Reach.REFUSED, "nothing listens")
    observer.circuit(Side.DESTINATION, down)
    observer.circuit(Side.DESTINATION, Trouble(Reach.REFUSED, "nothing listens still"))  # within the minute: held back
    clock.now += 90
    observer.circuit(Side.DESTINATION, None)
    observer.circuit(Side.DESTINATION, None)
    for trouble in (Trouble(Reach.UNAUTHORIZED, "403"), Trouble(Reach.UNAUTHORIZED, "403"), None, None):
        observer.subscription(trouble)
    observer.described(None)
    observer.described(None)
    observer.described(Subscription(60, 604_800, 5))
    observer.swept(Trouble(Reach.FAILING, "503"))
    observer.swept(None)
    observer.warned("/studies/1", "B007")
    observer.settled("exported", clock.now - 2)
    told = [(line["severity"], line["event"], line["message"]) for line in map(json.loads, stream.getvalue().splitlines())]
    assert told == [
        ("ERROR", "DestinationUnavailable", "the destination is down, nothing more is pulled until it is back: nothing listens"),
        ("INFO", "DestinationRecovered", "the destination works again after 1 min 30 s"),
        ("ERROR", "SubscriptionUnavailable", "403"),
        ("INFO", "SubscriptionRecovered", "messages can be pulled again"),
        ("INFO", "SettingsUnknown", messages.SETTINGS_UNKNOWN),
        ("WARNING", "NotReconciled", messages.not_swept("503")),
        ("WARNING", "StoredWithWarning", "/studies/1: B007"),
    ]
    assert found.retention == 604_800
    assert registry.get_sample_value("dicom_export_duration_seconds_sum") == 2.0
    assert registry.get_sample_value("dicom_export_circuit_open", {"side": "destination"}) == 0.0
    assert {registry.get_sample_value("dicom_export_messages_total", {"result": result}) for result in RESULTS} == {0.0, 1.0}
