"""google-auth's own code against Google's identity services on loopback: who gets in, and how many tokens that costs.

The store is as strict as the Cloud Healthcare API: a token that has expired, or lacks the scope, gets no image in.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support import google
from tests.support.adapter import Adapter
from tests.support.dicom import generated
from tests.support.google import KEY_ACCOUNT, NODE_ACCOUNT, GoogleIdentity
from tests.support.healthcare import WRITE, HealthcareApi
from tests.support.rawscu import send_instances

KEY = {"credentials": {"googleKeySecret": {"name": "gcs-key"}}}
DEFAULT: dict[str, object] = {"credentials": {"googleApplicationDefault": {}}}
TARGET = "stores@p.iam.gserviceaccount.com"


def put(adapter: Adapter, key: str) -> None:
    directory = Path(adapter.mounts, "secrets", "gcs-key")
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / ".new"
    new.write_text(key)
    new.replace(directory / "key.json")  # as the kubelet does it: at once


async def send(adapter: Adapter, count: int, associations: int = 4) -> tuple[list[tuple[int, str]], set[str]]:
    """Sends small images over several associations at once; gives the outcomes and the UIDs of what was acknowledged."""
    instances = [generated(64) for _ in range(count)]
    wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
    shares = [
        asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", f"CT{n}", wire[n::associations]) for n in range(associations)
    ]
    outcomes = [outcome for share in await asyncio.gather(*shares) for outcome in share]
    uids = [one.sop_instance_uid for n in range(associations) for one in instances[n::associations]]
    return outcomes, {uid for uid, (status, _) in zip(uids, outcomes, strict=True) if status == 0}


async def test_a_service_account_key_becomes_one_token_for_many_images_and_a_renewed_key_the_next() -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        async with Adapter(store.url, spec=KEY, command=google.COMMAND, wait=False) as adapter:
            await adapter.line("Secret 'gcs-key' does not exist in namespace 'rad'; create it, no restart is needed")
            put(adapter, identity.key_file())
            await adapter.ready()
            outcomes, acknowledged = await send(adapter, 40)
            assert outcomes == [(0, "")] * 40
            assert acknowledged == set(store.instances.by_uid())
            assert identity.asked == ["token"]
            put(adapter, identity.key_file(email="next@p.iam.gserviceaccount.com"))
            assert (await send(adapter, 8))[0] == [(0, "")] * 8
            assert identity.asked == ["token"] * 2
            identity.revoke_all()  # every image in flight meets a 401, and one new token serves them all
            assert (await send(adapter, 40))[0] == [(0, "")] * 40
            assert identity.asked == ["token"] * 3
            told = str(adapter.lines) + (await adapter.get("/status"))[1] + (await adapter.get("/metrics"))[1]
        assert not any(bearer.removeprefix("Bearer ") in told for bearer in store.bearers)


async def test_workload_identity_by_the_metadata_server_and_a_permission_that_is_taken_away() -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        environment = identity.metadata_environment()
        async with Adapter(store.url, spec=DEFAULT, command=google.COMMAND, environment=environment) as adapter:
            assert (await send(adapter, 8))[0] == [(0, "")] * 8
            assert identity.asked == ["metadata"]
            await adapter.store_becomes("Reachable")
            store.permissions -= {WRITE}
            outcomes, acknowledged = await send(adapter, 1, 1)
            assert outcomes == [(0x0124, "Http_403, PERMISSION_DENIED, Permission healthcare.dicomStores.d")]
            assert not acknowledged
            status = await adapter.store_becomes("Unauthorized")
            sentence = f"the store answers that '{NODE_ACCOUNT}' may not {WRITE}; grant it roles/healthcare.dicomEditor on the dataset"
            assert status["store"]["message"] == sentence
            await adapter.line(sentence)


async def test_a_service_account_that_acts_as_another(tmp_path: Path) -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        (tmp_path / "adc.json").write_text(identity.impersonation_file(TARGET))
        environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "adc.json"), "TEST_IAM_URL": identity.url}
        async with Adapter(store.url, spec=DEFAULT, command=google.COMMAND, environment=environment) as adapter:
            assert (await send(adapter, 4))[0] == [(0, "")] * 4
        assert identity.asked == ["token", "impersonate"]
        grant = identity.grant(store.bearers[-1])
        assert grant
        assert grant.email == TARGET


async def test_tokens_that_expire_in_the_middle_of_a_thousand_images_cost_none_of_them() -> None:
    async with GoogleIdentity(life=3) as identity, HealthcareApi(identity) as store:
        adapter = Adapter(store.url, spec=KEY, command=google.COMMAND)
        put(adapter, identity.key_file())
        async with adapter:
            outcomes, acknowledged = await send(adapter, 1000)
            while len(set(store.bearers)) < 2:  # on a fast machine they took less than that
                more, others = await send(adapter, 100)
                outcomes, acknowledged = outcomes + more, acknowledged | others
            tokens = len(identity.asked)
        assert outcomes == [(0, "")] * len(outcomes)
        assert acknowledged == set(store.instances.by_uid())
        used = len(set(store.bearers))
        print(f"{len(outcomes):,} images, tokens that live for 3 s: {tokens} requests for tokens, {used} used")
        assert 2 <= used <= tokens <= used + 2 < 100


async def test_a_token_endpoint_that_is_down_is_not_asked_for_every_image_and_none_is_acknowledged_that_is_not_stored() -> None:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as store:
        adapter = Adapter(store.url, spec=KEY, command=google.COMMAND)
        put(adapter, identity.key_file())
        identity.down = True
        async with adapter:
            outcomes, acknowledged = await send(adapter, 200)
            asked = len(identity.asked)
            sentence = "Google gave no token: its token server fails at the moment"
            assert set(outcomes) == {(0xA700, sentence)}
            assert (acknowledged, len(store.instances)) == (set(), 0)
            print(f"200 images while the token endpoint is down: {asked} requests for tokens")
            assert asked < 50
            status = await adapter.store_becomes("Unauthorized")
            assert status["store"]["message"] == sentence
            identity.down = False

            async def accepted() -> bool:
                return (await send(adapter, 1, 1))[0] == [(0, "")]

            await adapter.poll(accepted)
            assert len(store.instances) == 1


def test_the_key_file_of_the_double_is_what_gcloud_writes() -> None:
    key = json.loads(GoogleIdentity().key_file())
    assert (key["type"], key["client_email"]) == ("service_account", KEY_ACCOUNT)
