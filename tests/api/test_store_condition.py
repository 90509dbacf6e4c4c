"""What an adapter finds at its store reaches whoever looks: the same sentence in kubectl, event, log and /status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from dicom_adapter.config import Config, CredentialKind, Credentials, DicomStore, ObjectKey
from dicom_adapter.diagnosis import of_answer, of_failure
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import UNKNOWN_CA, Endpoint, Obstacle, StoreUnreachable
from dicom_adapter.state import StoreState
from tests.api.pages import ADAPTER_ADDRESS, PAGE_ADDRESS, StatusPage, report
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support import google
from tests.support.adapter import Adapter
from tests.support.apiserver import ApiServer
from tests.support.google import KEY_ACCOUNT, GoogleIdentity
from tests.support.healthcare import NOT_ENABLED, SCOPES_INSUFFICIENT, WRITE, HealthcareApi, denied
from tests.support.kubernetes import wait_until
from tests.support.store import google_error

STORE_PATH = "projects/p/locations/l/datasets/d/dicomStores/s"


@pytest.fixture
def patient_operator(api: Api) -> Iterator[OperatorProcess]:
    """An operator that asks the pods at its own pace, not at the tests'."""
    with OperatorProcess(api.server.environment, arguments=()) as process:
        process.wait_ready()
        yield process


def rendered(namespace: Namespace, store: str) -> dict[str, Any]:
    """Creates a DicomAdapter for this store, lets its pod run, and gives the configuration that the pod mounts."""
    namespace.adapter(dicomStore=store, credentials={"googleKeySecret": {"name": "gcs-key"}})
    namespace.address()
    (pod,) = namespace.pods()
    namespace.pod_ready(pod, ADAPTER_ADDRESS)
    return dict(json.loads(namespace.get("configmaps", "ct-east")["data"]["dicomadapter.yaml"])["spec"])


def wide(server: ApiServer, namespace: Namespace) -> dict[str, str]:
    """The one row of `kubectl get dicomadapters -o wide`, by column."""
    head, row = server.kubectl("get", "dicomadapters", "--output=wide", f"--namespace={namespace.name}").stdout.splitlines()
    starts = [at for at, letter in enumerate(head) if letter != " " and (at == 0 or head[:at].endswith("  "))]
    return {head[start:end].strip(): row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)}


async def test_a_typo_in_the_store_comes_to_be_in_kubectl_get(
    patient_operator: OperatorProcess, api_server: ApiServer, namespace: Namespace
) -> None:
    def tell(sentence: str) -> dict[str, str]:
        namespace.wait_condition("Ready", "Available")
        namespace.wait_condition("StoreReachable", "NotFound")
        wait_until("event", lambda: [event["message"] for event in namespace.events("StoreUnavailable")] == [sentence])
        return wide(api_server, namespace)

    async with GoogleIdentity() as identity, HealthcareApi(identity, store="archive") as store:
        spec = await asyncio.to_thread(rendered, namespace, store.url.replace("/archive/", "/archvie/"))
        sentence = f"the store answers 404 NOT_FOUND: create {store.path.replace('archive', 'archvie')} or correct spec.dicomStore"
        adapter = Adapter("", spec=spec, command=google.COMMAND, http=(ADAPTER_ADDRESS, 8080))
        (adapter.mounts / "secrets" / "gcs-key").mkdir(parents=True)
        (adapter.mounts / "secrets" / "gcs-key" / "key.json").write_text(identity.key_file())
        async with adapter:
            row = await asyncio.to_thread(tell, sentence)
            status = await adapter.status()
            await adapter.line(sentence)
    assert (row["READY"], row["STORE"], row["STORE MESSAGE"]) == ("True", "NotFound", sentence)
    assert row["DICOM STORE"].endswith("/dicomStores/archvie/dicomWeb")
    assert (status["store"]["reason"], status["store"]["message"]) == ("NotFound", sentence)
    assert status["verdict"] == {"level": "bad", "message": sentence}


def states() -> list[StoreState]:
    """Rows 14 to 21 of what can be wrong with a store, in the adapter's own words."""
    secret = Credentials(CredentialKind.GOOGLE_KEY, ObjectKey("gcs-key", "key.json"))
    config = Config(ae_title="GATE", store=DicomStore("https://x", STORE_PATH), credentials=secret)
    answers = [
        (401, "UNAUTHENTICATED", "Request had invalid credentials"),
        (403, "PERMISSION_DENIED", NOT_ENABLED),
        (403, "PERMISSION_DENIED", SCOPES_INSUFFICIENT),
        (403, "PERMISSION_DENIED", denied(WRITE, STORE_PATH)),
        (404, "NOT_FOUND", "dicomStore does not exist"),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded"),
        (503, "UNAVAILABLE", "The service is currently unavailable"),
    ]
    endpoint = Endpoint("pacs.example", 443, "10.4.0.9")
    failures = [(Obstacle.DNS, ""), (Obstacle.REFUSED, ""), (Obstacle.SILENT, ""), (Obstacle.TLS, UNKNOWN_CA)]
    told = [of_answer(Answer(code, "application/json", google_error(code, *rest).encode()), config, KEY_ACCOUNT) for code, *rest in answers]
    return told + [of_failure(StoreUnreachable(what, endpoint, detail), issuer="CN=hospital-ca") for what, detail in failures]


@pytest.mark.usefixtures("operator")
def test_whatever_is_wrong_with_a_store_is_a_condition_and_an_event_word_for_word(
    namespace: Namespace, status_page: type[StatusPage]
) -> None:
    namespace.adapter()
    namespace.address()
    (pod,) = namespace.pods()
    namespace.pod_ready(pod, PAGE_ADDRESS)
    for state in states():
        status_page.answer = report(store=str(state.reason), store_message=state.message)

        def told(state: StoreState = state) -> bool:
            condition = namespace.condition("StoreReachable")
            return (condition.get("status"), condition.get("reason"), condition.get("message")) == ("False", state.reason, state.message)

        wait_until(state.message, told, every=0.05)
    expected = {state.message for state in states()}
    wait_until("events", lambda: {event["message"] for event in namespace.events("StoreUnavailable")} == expected)
