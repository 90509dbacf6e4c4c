"""The way to the store, step by step: what the probe and `dicom-adapter check` find, and their sentences."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter import credentials, document
from dicom_adapter.diagnosis import REACHABLE
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.proxies import NO_PROXIES
from dicom_adapter.reach import Step, Way
from dicom_adapter.state import StoreReason, StoreState
from tests.support.certificates import Authority
from tests.support.faults import Reply
from tests.support.firewall import dropped_port
from tests.support.google import CLOUD_HEALTHCARE, KEY_ACCOUNT, GoogleIdentity
from tests.support.healthcare import JSON, NOT_ENABLED, READ, SCOPES_INSUFFICIENT, WRITE, HealthcareApi, denied
from tests.support.orthanc import free_port
from tests.support.store import FaultStore, google_error

KEY = {"credentials": {"googleKeySecret": {"name": "gcs-key"}}}


class Uncounted:
    def request_ended(self, method: str, code: str, seconds: float) -> None: ...


class TlsStore(FaultStore):
    """A FaultStore that speaks TLS."""

    def __init__(self, context: Any) -> None:
        super().__init__()
        self._tls = context

    @property
    def url(self) -> str:
        return super().url.replace("http://", "https://")


class Walker:
    """The way to one store, on which each walk and each probe begins anew."""

    def __init__(self, store: str, mounts: Path, spec: dict[str, Any] | None = None, timeout: float = 5.0) -> None:
        text = json.dumps({"aeTitle": "GATE", "dicomStore": store, **(spec or {})})
        self.config = document.load(text, {}, aliases={}, google_hosts=["127.0.0.1"])
        self.mounts = mounts
        self.timeout = timeout

    def _begin(self) -> tuple[DicomwebClient, Way]:
        access = credentials.access(self.config.credentials, self.mounts)
        client = DicomwebClient(
            self.config.store.url,
            headers=access.credentials.headers,
            tls=access.tls.context,
            observer=Uncounted(),
            connections=1,
            user_agent="test",
            refused=access.credentials.refused,
            proxies=credentials.proxies(self.config.credentials, NO_PROXIES),
        )
        return client, Way(client, access, self.config, timeout=self.timeout)

    async def walk(self) -> list[Step]:
        client, way = self._begin()
        async with client:
            return [step async for step in way.walk()]

    async def probe(self, *, write: bool = True) -> StoreState:
        client, way = self._begin()
        async with client:
            return await way.ask(write=write)

    async def obstacle(self) -> tuple[str, str, str]:
        """Where the walk ends, the reason and the sentence; the probe finds the same."""
        steps = await self.walk()
        (step,) = [step for step in steps if step.found]
        assert step.found
        assert all(later.message == "not reached" for later in steps[steps.index(step) + 1 :])
        assert await self.probe() == step.found
        return str(step.name), str(step.found.reason), step.message


def outcomes(steps: list[Step]) -> list[tuple[str, str]]:
    assert all(step.found is None and step.seconds is not None for step in steps)
    return [(str(step.name), step.message) for step in steps]


def mounted(mounts: Path, kind: str, name: str, **keys: str) -> None:
    directory = mounts / kind / name
    directory.mkdir(parents=True, exist_ok=True)
    for key, content in keys.items():
        (directory / key.replace("_", ".")).write_text(content)


async def test_a_store_that_lets_everyone_in(tmp_path: Path) -> None:
    async with FaultStore() as store:
        walker = Walker(store.url, tmp_path)
        assert outcomes(await walker.walk()) == [
            ("DNS", "127.0.0.1"),
            ("TCP", f"127.0.0.1:{store.port}"),
            ("credentials", "none"),
            ("list", "200 to a search"),
            ("write", "400 to a request without an instance: instances would be looked at"),
        ]
        assert await walker.probe() == REACHABLE
        assert not store.posts
        asked = len(store.requests)
        assert await walker.probe(write=False) == REACHABLE
        assert [method for method, *_ in store.requests[asked:]] == ["GET"]


@pytest.mark.parametrize(
    ("search", "reason", "sentence"),
    [
        (
            Reply(401, "", "text/plain"),
            "Unauthorized",
            "the store answers 401 Unauthorized: it wants credentials; name them in spec.credentials",
        ),
        (
            Reply(404, "no such thing", "text/plain"),
            "NotFound",
            "the store answers 404 Not Found: correct spec.dicomStore; it says: no such thing",
        ),
        (
            Reply(200, "<html>", "text/html"),
            "NotFound",
            "the store answers 200 with a web page: is it the base URL of a DICOMweb service? correct spec.dicomStore",
        ),
        (
            Reply(503, google_error(503, "UNAVAILABLE", "x"), JSON),
            "Unreachable",
            "the store answers 503 UNAVAILABLE: senders get A700 and keep their images",
        ),
    ],
)
async def test_a_search_that_goes_wrong(search: Reply, reason: str, sentence: str, tmp_path: Path) -> None:
    async with FaultStore() as store:
        store.search_reply = search
        assert await Walker(store.url, tmp_path).obstacle() == ("list", reason, sentence)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (Reply(403, "read only", "text/plain"), ("write", "Unauthorized", "the store answers 403 Forbidden: read only")),
        (
            Reply(405, "", "text/plain"),
            (
                "write",
                "NotFound",
                "the store answers 405 Method Not Allowed: is it the base URL of a DICOMweb service? correct spec.dicomStore",
            ),
        ),
    ],
)
async def test_a_store_that_can_be_searched_and_not_written(write: Reply, found: tuple[str, str, str], tmp_path: Path) -> None:
    async with FaultStore() as store:
        store.write_reply = write
        assert await Walker(store.url, tmp_path).obstacle() == found


async def test_what_a_store_makes_of_an_odd_question_is_no_obstacle(tmp_path: Path) -> None:
    async with FaultStore() as store:
        store.write_reply = Reply(500, "", "text/plain")
        store.search_reply = Reply(400, "", "text/plain")
        walker = Walker(store.url, tmp_path)
        told = "the store answers 400 Bad Request to a search, so it is there; whether it stores is not known"
        assert outcomes(await walker.walk())[-2:] == [("list", told), ("write", "not known: 500 to a request without an instance")]
        assert await walker.probe() == StoreState(StoreReason.REACHABLE, told)


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    steps = await Walker("http://pacs.invalid/dicom-web", tmp_path).walk()
    sentence = "'pacs.invalid' cannot be resolved in the pod (NXDOMAIN): check spec.dicomStore and the cluster's DNS"
    assert [(str(step.name), step.message) for step in steps[:2]] == [("DNS", sentence), ("TCP", "not reached")]


async def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    steps = await Walker(f"http://127.0.0.1:{port}/dicom-web", tmp_path).walk()
    assert (str(steps[1].name), steps[1].message) == ("TCP", f"127.0.0.1:{port} refuses connections")
    assert await Walker(f"http://127.0.0.1:{port}/dicom-web", tmp_path).probe() == steps[1].found


async def test_a_store_that_gives_no_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        sentence = f"127.0.0.1:{port} gives no answer: is a firewall or NetworkPolicy in the way?"
        found = await Walker(f"http://127.0.0.1:{port}/dicom-web", tmp_path, timeout=1.0).obstacle()
        assert found == ("list", "Unreachable", sentence)


async def test_a_firewall_that_drops(tmp_path: Path) -> None:
    with dropped_port() as port:
        sentence = f"127.0.0.1:{port} gives no answer: is a firewall or NetworkPolicy in the way?"
        assert await Walker(f"http://127.0.0.1:{port}/x", tmp_path, timeout=1.0).obstacle() == ("TCP", "Unreachable", sentence)


async def test_a_certificate_of_an_unknown_authority_is_told_with_its_name(tmp_path: Path) -> None:
    authority = Authority("hospital-ca")
    async with TlsStore(authority.server_context(tmp_path)) as store:
        sentence = (
            "the certificate of 127.0.0.1 is signed by unknown 'CN=hospital-ca': "
            "put that CA into a ConfigMap and name it in spec.credentials.caBundle"
        )
        assert await Walker(store.url, tmp_path).obstacle() == ("TLS", "Unreachable", sentence)
        mounted(tmp_path, "configmaps", "ca", ca_crt=authority.certificate)
        steps = outcomes(await Walker(store.url, tmp_path, {"credentials": {"caBundle": {"configMap": "ca"}}}).walk())
        assert [name for name, _ in steps] == ["DNS", "TCP", "TLS", "credentials", "list", "write"]
        assert steps[2][1].startswith("TLSv1.3; the certificate is good until ")


async def test_a_certificate_that_is_over(tmp_path: Path) -> None:
    authority = Authority()
    mounted(tmp_path, "configmaps", "ca", ca_crt=authority.certificate)
    async with TlsStore(authority.server_context(tmp_path, days=-1)) as store:
        found = await Walker(store.url, tmp_path, {"credentials": {"caBundle": {"configMap": "ca"}}}).obstacle()
        assert found == ("TLS", "Unreachable", "TLS with 127.0.0.1 fails: certificate expired")


async def test_a_client_certificate_opens_the_door(tmp_path: Path) -> None:
    authority = Authority()
    mounted(tmp_path, "configmaps", "ca", ca_crt=authority.certificate)
    spec = {"credentials": {"clientCertificateSecret": {"name": "pair"}, "caBundle": {"configMap": "ca"}}}
    async with TlsStore(authority.server_context(tmp_path, clients=True)) as store:
        missing = (
            "Secret 'pair' does not exist: there is nothing in " + str(tmp_path / "secrets" / "pair") + "; create it, no restart is needed"
        )
        walker = Walker(store.url, tmp_path, spec)
        assert await walker.obstacle() == ("TLS", "Unauthorized", missing)
        authority.issue("adapter").write(tmp_path / "secrets" / "pair")
        assert len(outcomes(await walker.walk())) == 6
        assert await walker.probe() == REACHABLE
        lost = f"127.0.0.1:{store.port} closes the connection without an answer: perhaps it "
        Authority("other").issue("adapter").write(tmp_path / "secrets" / "pair")
        assert await walker.obstacle() == ("list", "Unreachable", f"{lost}does not accept the certificate in Secret 'pair'")
        without = {"credentials": {"caBundle": {"configMap": "ca"}}}
        wants = f"{lost}wants a client certificate; name one in spec.credentials.clientCertificateSecret"
        assert await Walker(store.url, tmp_path, without).obstacle() == ("list", "Unreachable", wants)


async def test_the_way_through_a_proxy_begins_at_the_proxy(tmp_path: Path) -> None:
    async with FaultStore() as proxy:  # it takes whatever URL is asked of it
        spec = {"credentials": {"none": {}, "proxy": f"http://127.0.0.1:{proxy.port}"}}
        walker = Walker("http://pacs.invalid/dicom-web", tmp_path, spec)
        assert outcomes(await walker.walk())[:2] == [("DNS", "127.0.0.1"), ("TCP", f"127.0.0.1:{proxy.port}, the proxy")]
        assert await walker.probe() == REACHABLE
        assert proxy.requests[-1][2]["Host"] == "pacs.invalid"
    sentence = "the proxy 127.0.0.1:{} cannot be reached: check spec.credentials.proxy, or HTTPS_PROXY and NO_PROXY where the adapter runs"
    assert await walker.obstacle() == ("TCP", "Unreachable", sentence.format(proxy.port))


async def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    async with FaultStore() as store:
        spec = {"credentials": {"bearerTokenSecret": {"name": "pacs-token"}, "allowInsecure": True}}
        mounted(tmp_path, "secrets", "pacs-token", tokne="x")
        sentence = "Secret 'pacs-token' has no key 'token' (it has 'tokne'); add it, no restart is needed"
        assert await Walker(store.url, tmp_path, spec).obstacle() == ("credentials", "Unauthorized", sentence)


async def test_googles_store_is_asked_which_permissions_there_are(tmp_path: Path) -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        mounted(tmp_path, "secrets", "gcs-key", key_json=identity.key_file())
        assert outcomes(await Walker(store.url, tmp_path, KEY).walk())[2:] == [
            ("credentials", f"googleKeySecret, as {KEY_ACCOUNT}"),
            ("list", "204 to a search"),
            ("write", f"has {WRITE}"),
        ]
        assert not store.posts


def no_write(store: HealthcareApi) -> None:
    store.permissions -= {WRITE}


def no_read(store: HealthcareApi) -> None:
    store.permissions -= {READ}


def not_enabled(store: HealthcareApi) -> None:
    store.enabled = False


def another_store(store: HealthcareApi) -> None:
    store.path = store.path.removesuffix("/s") + "/other"


def revoked(store: HealthcareApi) -> None:
    store.identity.life = 0


def over_quota(store: HealthcareApi) -> None:
    store.quota = 0


MAY_NOT = f"'{KEY_ACCOUNT}' may not healthcare.dicomStores.dicomWeb"
GRANT = "; grant it roles/healthcare.dicomEditor on the dataset"
PATH = "projects/p/locations/europe-west4/datasets/d/dicomStores/s"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (no_write, ("write", "Unauthorized", f"the store answers that {MAY_NOT}Write{GRANT}")),
        (
            no_read,
            (
                "list",
                "Unauthorized",
                f"the store answers 403 PERMISSION_DENIED: {MAY_NOT}Read{GRANT}, or correct spec.dicomStore; it says: {denied(READ, PATH)}",
            ),
        ),
        (
            not_enabled,
            (
                "list",
                "Unauthorized",
                "the store answers 403 PERMISSION_DENIED: the Cloud Healthcare API is not enabled: `gcloud services enable "
                f"healthcare.googleapis.com --project=123456`, then wait a few minutes; it says: {NOT_ENABLED}",
            ),
        ),
        (another_store, ("list", "NotFound", f"the store answers 404 NOT_FOUND: create {PATH} or correct spec.dicomStore")),
        (
            revoked,
            (
                "list",
                "Unauthorized",
                "the store answers 401 UNAUTHENTICATED: the credentials in Secret 'gcs-key', key 'key.json', are not accepted; "
                "renew them, no restart is needed",
            ),
        ),
        (
            over_quota,
            (
                "list",
                "Throttled",
                "the store asks to slow down (429 RESOURCE_EXHAUSTED): raise its quota or set spec.delivery.maxRequestsPerMinute",
            ),
        ),
    ],
)
async def test_what_googles_store_may_have_against_us(
    spoil: Callable[[HealthcareApi], None], expected: tuple[str, str, str], tmp_path: Path
) -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        mounted(tmp_path, "secrets", "gcs-key", key_json=identity.key_file())
        url = store.url
        spoil(store)
        assert await Walker(url, tmp_path, KEY).obstacle() == expected


async def test_a_token_without_the_scope(tmp_path: Path) -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        mounted(tmp_path, "secrets", "gcs-key", key_json=identity.key_file())
        spec = {"credentials": {**KEY["credentials"], "scopes": ["https://www.googleapis.com/auth/devstorage.read_only"]}}
        name, reason, sentence = await Walker(store.url, tmp_path, spec).obstacle()
        assert (name, reason) == ("list", "Unauthorized")
        assert sentence == (
            f"the store answers 403 PERMISSION_DENIED: the token lacks the scope {CLOUD_HEALTHCARE}: name it in spec.credentials.scopes; "
            "without workload identity a GKE node pool must have been created with it, or with cloud-platform; "
            f"it says: {SCOPES_INSUFFICIENT}"
        )


@pytest.mark.parametrize("answer", ["[]", "nonsense", '{"permissions": 1}'])
async def test_an_odd_answer_about_permissions_is_no_obstacle(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def odd(*_: object) -> Reply:
        return Reply(200, answer, JSON)

    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        monkeypatch.setattr(store, "_test_permissions", odd)
        mounted(tmp_path, "secrets", "gcs-key", key_json=identity.key_file())
        steps = outcomes(await Walker(store.url, tmp_path, KEY).walk())
        assert steps[-1] == ("write", "not known: 200 to the question which permissions there are")


async def test_a_key_that_google_does_not_accept(tmp_path: Path) -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        mounted(tmp_path, "secrets", "gcs-key", key_json=identity.key_file(f"{identity.url}/nothing"))
        sentence = "Google gave no token: it answers with an error; check that the service account exists and is enabled"
        assert await Walker(store.url, tmp_path, KEY).obstacle() == ("credentials", "Unauthorized", sentence)
