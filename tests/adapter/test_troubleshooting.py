"""What goes wrong first when a PACS is connected to the Cloud Healthcare API, as its owner reads it: dcmtk's output, the log, /status.

https://cloud.google.com/healthcare-api/docs/how-tos/dicom-connect-pacs, "Troubleshooting".
"""

from __future__ import annotations

from pathlib import Path

from tests.support import google
from tests.support.adapter import Adapter, dcmsend, run
from tests.support.dicom import instance, write_sample
from tests.support.firewall import dropped_port
from tests.support.google import CLOUD_HEALTHCARE, KEY_ACCOUNT, GoogleIdentity
from tests.support.healthcare import NOT_ENABLED, READ, SCOPES_INSUFFICIENT, WRITE, HealthcareApi, denied
from tests.support.orthanc import free_port
from tests.support.store import FaultStore

KEY = {"credentials": {"googleKeySecret": {"name": "gcs-key"}}}
FAILED = "C-STORE from 'CT1' failed: 0124 Http_403, PERMISSION_DENIED, "
ANSWERS = "the store answers 403 PERMISSION_DENIED: "


def with_key(store: HealthcareApi, key: str) -> Adapter:
    adapter = Adapter(store.url, spec={**KEY, "logLevel": "Debug"}, command=google.COMMAND)
    directory = adapter.mounts / "secrets" / "gcs-key"
    directory.mkdir(parents=True)
    (directory / "key.json").write_text(key)
    return adapter


async def read(adapter: Adapter, image: Path, comment: str, story: str, state: str) -> None:
    """Sends an image and reads what its sender, the log and /status say."""
    printed = await dcmsend(adapter.port, [image])
    assert "DIMSE Status                  : 0x0124: Refused: Not authorized" in printed
    assert f"(0000,0902) LO [{comment}]" in printed
    await adapter.line(FAILED + story)

    async def told() -> bool:
        return bool((await adapter.status())["store"]["message"] == state)

    await adapter.poll(told)
    await adapter.line(state)


async def test_the_api_is_not_enabled_then_the_role_is_missing(tmp_path: Path) -> None:
    image = write_sample("CT", tmp_path)
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        store.enabled = False
        async with with_key(store, identity.key_file()) as adapter:
            await read(
                adapter,
                image,
                "Http_403, PERMISSION_DENIED, Cloud Healthcare API has not been u",
                NOT_ENABLED,
                f"{ANSWERS}the Cloud Healthcare API is not enabled: `gcloud services enable healthcare.googleapis.com --project=123456`, "
                f"then wait a few minutes; it says: {NOT_ENABLED}",
            )
            store.enabled, store.permissions = True, set()
            text = denied(READ, store.path)
            await read(
                adapter,
                image,
                "Http_403, PERMISSION_DENIED, Permission healthcare.dicomStores.d",
                denied(WRITE, store.path),
                f"{ANSWERS}'{KEY_ACCOUNT}' may not {READ}; grant it roles/healthcare.dicomEditor on the dataset, "
                f"or correct spec.dicomStore; it says: {text}",
            )


async def test_the_nodes_of_the_cluster_lack_the_scope(tmp_path: Path) -> None:
    image = write_sample("CT", tmp_path)
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        identity.node_scopes = frozenset({"https://www.googleapis.com/auth/devstorage.read_only"})
        spec = {"credentials": {"googleApplicationDefault": {}}, "logLevel": "Debug"}
        async with Adapter(store.url, spec=spec, command=google.COMMAND, environment=identity.metadata_environment()) as adapter:
            await read(
                adapter,
                image,
                "Http_403, PERMISSION_DENIED, Request had insufficient authentica",
                SCOPES_INSUFFICIENT,
                f"{ANSWERS}the token lacks the scope {CLOUD_HEALTHCARE}: name it in spec.credentials.scopes; without workload identity "
                f"a GKE node pool must have been created with it, or with cloud-platform; it says: {SCOPES_INSUFFICIENT}",
            )


async def test_a_wrong_called_ae_title_and_a_sender_that_aborts(tmp_path: Path) -> None:
    image = write_sample("CT", tmp_path)
    async with FaultStore() as store, Adapter(store.url) as adapter:
        printed = await dcmsend(adapter.port, [image], called="GATEWAY")
        assert "Result: Rejected Permanent, Source: Service User" in printed
        assert "Reason: Called AE Title Not Recognized" in printed
        line = await adapter.line(
            "refused 'CT1', 1/1/7: it called 'GATEWAY', we are 'GATE'; correct the sender or add 'GATEWAY' to spec.acceptedAETitles"
        )
        assert line["severity"] == "WARNING"
        status, out, err = await run("storescu", "--abort", "-aet", "CT2", "-aec", "GATE", "127.0.0.1", str(adapter.port), str(image))
        assert status == 0, out + err
        assert list(store.stored) == [instance(image).sop_instance_uid]  # what was acknowledged before stays stored
        await adapter.poll_lines(
            lambda message: message.startswith("'CT2' from 127.0.0.1 aborted by peer (the peer's application aborted): C-STORE 0000 x 1; ")
        )


async def test_a_port_that_a_firewall_drops_or_where_nobody_listens(tmp_path: Path) -> None:
    image = str(write_sample("CT", tmp_path))
    with dropped_port() as port:
        _, out, err = await run("dcmsend", "--timeout", "1", "127.0.0.1", str(port), image)
        assert "TCP Initialization Error: Operation now in progress (Timeout)" in out + err
    _, out, err = await run("dcmsend", "127.0.0.1", str(free_port()), image)
    assert "TCP Initialization Error: Connection refused" in out + err
