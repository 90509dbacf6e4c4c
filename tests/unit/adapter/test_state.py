"""/status, the probe behind it, and the sentences of failures."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from dicom_adapter import messages
from dicom_adapter.config import Acknowledge, Config, CredentialKind, Credentials, Delivery, DicomStore, ObjectKey
from dicom_adapter.diagnosis import of_answer, of_failure
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import UNKNOWN_CA, Endpoint, Obstacle, StoreUnreachable
from dicom_adapter.logs import EventLog
from dicom_adapter.probe import Pace, Probe
from dicom_adapter.state import LastError, NodeState, Reason, StoreReason, StoreState
from tests.support.healthcare import NOT_ENABLED, SCOPES_INSUFFICIENT
from tests.support.store import google_error

PATH = "projects/p/locations/l/datasets/d/dicomStores/s"
SECRET = Credentials(CredentialKind.GOOGLE_KEY, ObjectKey("gcs-key", "key.json"))


def config(credentials: Credentials = SECRET, path: str | None = PATH) -> Config:
    return Config(ae_title="GATE", store=DicomStore("https://x", path), credentials=credentials)


def told(status: int, word: str, message: str, with_config: Config | None = None, identity: str = "") -> tuple[str, str]:
    found = of_answer(Answer(status, "application/json", google_error(status, word, message).encode()), with_config or config(), identity)
    return str(found.reason), found.message


def test_row_14_the_credentials_are_not_accepted() -> None:
    start = "the store answers 401 UNAUTHENTICATED: "
    renew = "are not accepted; renew them, no restart is needed"
    expected = {
        CredentialKind.GOOGLE_KEY: f"the credentials in Secret 'gcs-key', key 'key.json', {renew}",
        CredentialKind.BEARER: f"the credentials in Secret 'gcs-key', key 'key.json', {renew}",
        CredentialKind.BASIC: f"the credentials in Secret 'gcs-key', keys 'username' and 'password', {renew}",
        CredentialKind.GOOGLE_DEFAULT: "the pod's own Google credentials are not accepted; check its workload identity",
        CredentialKind.NONE: "it wants credentials; name them in spec.credentials",
    }
    for kind, text in expected.items():
        found = told(401, "UNAUTHENTICATED", "x", config(Credentials(kind, SECRET.secret)))
        assert found == ("Unauthorized", start + text)


def test_row_15_a_permission_is_missing() -> None:
    text = "Permission healthcare.dicomStores.dicomWebWrite denied on resource 'projects/p'."
    assert told(403, "PERMISSION_DENIED", text, identity="dicom@p.iam.gserviceaccount.com") == (
        "Unauthorized",
        "the store answers 403 PERMISSION_DENIED: 'dicom@p.iam.gserviceaccount.com' may not healthcare.dicomStores.dicomWebWrite; "
        f"grant it roles/healthcare.dicomEditor on the dataset; it says: {text}",
    )
    text = "Permission healthcare.dicomStores.dicomWebDelete denied on resource 'projects/p' (or it may not exist)."
    assert told(403, "PERMISSION_DENIED", text) == (
        "Unauthorized",
        "the store answers 403 PERMISSION_DENIED: the adapter's account may not healthcare.dicomStores.dicomWebDelete; "
        f"grant it a role that has it on the dataset, or correct spec.dicomStore; it says: {text}",
    )
    assert told(403, "PERMISSION_DENIED", "API not enabled") == ("Unauthorized", "the store answers 403 PERMISSION_DENIED: API not enabled")
    assert told(403, "X", "") == ("Unauthorized", "the store answers 403 X: the adapter's account has no access to it")


def test_row_16_the_store_is_missing() -> None:
    assert told(404, "NOT_FOUND", "x") == ("NotFound", f"the store answers 404 NOT_FOUND: create {PATH} or correct spec.dicomStore")
    assert told(404, "NOT_FOUND", "x", config(path=None)) == (
        "NotFound",
        "the store answers 404 NOT_FOUND: correct spec.dicomStore; it says: x",
    )


def test_row_15_the_api_is_not_enabled_or_a_scope_is_missing() -> None:
    assert told(403, "PERMISSION_DENIED", NOT_ENABLED) == (
        "Unauthorized",
        "the store answers 403 PERMISSION_DENIED: the Cloud Healthcare API is not enabled: "
        f"`gcloud services enable healthcare.googleapis.com --project=123456`, then wait a few minutes; it says: {NOT_ENABLED}",
    )
    assert told(403, "PERMISSION_DENIED", SCOPES_INSUFFICIENT) == (
        "Unauthorized",
        "the store answers 403 PERMISSION_DENIED: the token lacks the scope https://www.googleapis.com/auth/cloud-healthcare: name it in "
        "spec.credentials.scopes; without workload identity a GKE node pool must have been created with it, or with cloud-platform; "
        f"it says: {SCOPES_INSUFFICIENT}",
    )


@pytest.mark.parametrize(
    ("obstacle", "detail", "expected"),
    [
        (Obstacle.DNS, "", "'pacs.example' cannot be resolved in the pod (NXDOMAIN): check spec.dicomStore and the cluster's DNS"),
        (
            Obstacle.DNS,
            "no answer",
            "'pacs.example' cannot be resolved in the pod (no answer): check spec.dicomStore and the cluster's DNS",
        ),
        (Obstacle.REFUSED, "", "10.4.0.9:443 (pacs.example) refuses connections"),
        (Obstacle.SILENT, "", "10.4.0.9:443 (pacs.example) gives no answer: is a firewall or NetworkPolicy in the way?"),
        (
            Obstacle.TLS,
            UNKNOWN_CA,
            "the certificate of pacs.example is signed by an unknown CA: "
            "put that CA into a ConfigMap and name it in spec.credentials.caBundle",
        ),
        (Obstacle.TLS, "certificate expired", "TLS with pacs.example fails: certificate expired"),
        (
            Obstacle.PROXY,
            "the proxy proxy.example:3128 answers 407",
            "the proxy proxy.example:3128 answers 407: check spec.credentials.proxy, or HTTPS_PROXY and NO_PROXY where the adapter runs",
        ),
        (Obstacle.LOST, "", "10.4.0.9:443 (pacs.example) closes the connection without an answer"),
        (Obstacle.NETWORK, "no route to host", "10.4.0.9:443 (pacs.example) cannot be reached: no route to host"),
    ],
)
def test_rows_17_to_19_no_answer(obstacle: Obstacle, detail: str, expected: str) -> None:
    found = of_failure(StoreUnreachable(obstacle, Endpoint("pacs.example", 443, "10.4.0.9"), detail))
    assert (found.reason, found.message) == (StoreReason.UNREACHABLE, expected)


def test_rows_20_and_21_throttled_and_unavailable() -> None:
    assert told(429, "RESOURCE_EXHAUSTED", "x") == (
        "Throttled",
        "the store asks to slow down (429 RESOURCE_EXHAUSTED): raise its quota or set spec.delivery.maxRequestsPerMinute",
    )
    assert told(503, "UNAVAILABLE", "x") == ("Unreachable", "the store answers 503 UNAVAILABLE: senders get A700 and keep their images")


def test_row_22_unavailable_with_a_spool() -> None:
    spooled = replace(config(), delivery=Delivery(acknowledge=Acknowledge.AFTER_SPOOL))
    said = "the store answers 503 UNAVAILABLE: images wait in the spool, senders are not affected"
    assert told(503, "UNAVAILABLE", "x", spooled) == ("Unreachable", said)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, "Reachable"), (204, "Reachable"), (400, "Reachable"), (501, "Reachable"), (302, "NotFound"), (405, "NotFound")],
)
def test_other_answers(status: int, reason: str) -> None:
    assert told(status, "X", "")[0] == reason


def test_a_web_page_is_no_dicomweb_store() -> None:
    found = of_answer(Answer(200, "text/html", b"<!doctype html><p>Sign in"), config(), "")
    expected = "the store answers 200 with a web page: is it the base URL of a DICOMweb service? correct spec.dicomStore"
    assert found == StoreState(StoreReason.NOT_FOUND, expected)


def node(active: int = 0) -> NodeState:
    return NodeState(ae_title="GATE", store_url="https://x", maximum=2, active=lambda: active)


def test_the_verdict_opens_with_the_worst() -> None:
    state = node()
    assert state.document()["verdict"] == {"level": "bad", "message": "the adapter is starting"}
    assert state.become(Reason.READY, "listening")
    assert not state.become(Reason.READY, "listening")
    assert state.verdict() == ("ok", "'GATE' receives and stores into https://x")
    state.store = StoreState(StoreReason.THROTTLED, "slow down")
    assert state.verdict() == ("warn", "slow down")
    state.store = StoreState(StoreReason.UNREACHABLE, "gone")
    assert state.verdict() == ("bad", "gone")
    state.become(Reason.DRAINING, "draining")
    assert state.verdict() == ("warn", "draining")
    full = node(2)
    full.become(Reason.READY, "listening")
    assert full.verdict() == ("warn", "all 2 associations are open: further ones are refused (spec.limits.maxAssociations)")


def test_status_shows_the_last_error() -> None:
    state = node()
    state.last_error = LastError(0.0, "it failed")
    assert state.document()["lastError"] == {"time": "1970-01-01T00:00:00.000Z", "message": "it failed"}
    assert json.loads(json.dumps(state.document()))["version"] == 1


class Probed:
    """A probe without a client, fed by hand."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "dicom_adapter")
        self.caplog = caplog
        self.clock = 0.0
        self.state = node()
        unused: Any = None
        log = EventLog(logging.getLogger("dicom_adapter"))
        self.probe = Probe(unused, asks_for_permission=False, state=self.state, log=log, pace=Pace(), now=lambda: self.clock)

    def learn(self, reason: StoreReason, message: str = "m", after: float = 0.0) -> str:
        self.clock += after
        self.probe.learn(StoreState(reason, message))
        return str(self.state.store.reason)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.caplog.records]


@pytest.fixture
def probed(caplog: pytest.LogCaptureFixture) -> Probed:
    return Probed(caplog)


def test_a_change_is_told_once_and_its_end_with_its_length(probed: Probed) -> None:
    assert probed.learn(StoreReason.REACHABLE) == "Reachable"
    for _ in range(3):
        assert probed.learn(StoreReason.UNREACHABLE, "gone", after=5) == "Unreachable"
    assert probed.learn(StoreReason.UNAUTHORIZED, "who?", after=5) == "Unauthorized"
    assert probed.learn(StoreReason.REACHABLE, after=235) == "Reachable"
    assert probed.lines == [("ERROR", "gone"), ("ERROR", "who?"), ("INFO", "the store answers again after 4 min 10 s")]


def test_throttling_counts_after_a_minute_of_it(probed: Probed) -> None:
    probed.learn(StoreReason.REACHABLE)
    assert probed.learn(StoreReason.THROTTLED) == "Reachable"
    assert probed.learn(StoreReason.THROTTLED, after=59) == "Reachable"
    assert probed.learn(StoreReason.THROTTLED, "slow", after=1) == "Throttled"
    assert probed.learn(StoreReason.REACHABLE) == "Reachable"
    assert probed.learn(StoreReason.THROTTLED) == "Reachable"


def test_a_short_outage_in_seconds() -> None:
    assert messages.answers_again(12.4) == "the store answers again after 12 s"


def test_a_store_that_numbers_its_answers_does_not_change_the_sentence(probed: Probed) -> None:
    for number in ("4f1c22aa-90", "7e9d03bb-91"):
        probed.learn(StoreReason.NOT_FOUND, f"it says: no such store (request {number})")
    assert probed.state.store.message == "it says: no such store (request 4f1c22aa-90)"
    assert len(probed.lines) == 1


class Asked:
    """A way to the store that only counts how it is asked."""

    def __init__(self, *answers: StoreReason) -> None:
        self.answers = list(answers)
        self.writes: list[bool] = []

    async def ask(self, *, write: bool) -> StoreState:
        self.writes.append(write)
        return StoreState(self.answers.pop(0), "m")


async def test_whether_it_may_write_is_asked_after_a_refused_image_until_it_may() -> None:
    good, bad = StoreReason.REACHABLE, StoreReason.UNAUTHORIZED
    asked: Any = Asked(good, good, bad, good, good)
    probe = Probe(asked, asks_for_permission=False, state=node(), log=EventLog(logging.getLogger("x")))
    await probe.once()
    probe.doubt(refused=False)
    await probe.once()
    probe.doubt(refused=True)
    for _ in range(3):
        await probe.once()
    assert asked.writes == [False, False, True, True, False]


async def test_a_failed_delivery_wakes_the_probe() -> None:
    asked: Any = Asked(*[StoreReason.REACHABLE] * 3)
    probe = Probe(asked, asks_for_permission=True, state=node(), log=EventLog(logging.getLogger("x")), pace=Pace(good=3600, bad=0))
    running = asyncio.create_task(probe.run())
    for count in (1, 2, 3):
        async with asyncio.timeout(60):
            while len(asked.writes) < count:  # noqa: ASYNC110 -- the other task has to get there
                await asyncio.sleep(0)
        if count < 3:
            probe.doubt(refused=False)
    running.cancel()
    assert asked.writes == [True] * 3
