"""`dicom-adapter check`: the way to the store as whoever runs the adapter sees it. The sentences themselves are in tests/unit/adapter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dicom_adapter.dimse import Handlers
from tests.adapter.dimse.serving import serving
from tests.support.adapter import COMMAND, run
from tests.support.orthanc import Orthanc, free_port
from tests.support.store import FaultStore, Reply


async def check(*arguments: str) -> tuple[int, list[str]]:
    status, out, err = await run(*COMMAND, "check", *arguments)
    assert err == ""
    return status, [" ".join(re.sub(r"[0-9]+ ms ", "", line).split()) for line in out.splitlines()]


def flags(store: str) -> list[str]:
    """The arguments of a Deployment of Google's adapter; those that change nothing here are taken all the same."""
    return ["--dimse_aet=IMPORTADAPTER", "--dimse_port=2575", f"--dicomweb_address={store}", "--verbose", "--http_port=8081"]


async def test_the_way_to_orthanc_is_open_and_nothing_is_stored_on_it() -> None:
    with Orthanc() as orthanc:
        status, lines = await check(*flags(orthanc.dicomweb_url))
        assert orthanc.instances() == set()
    assert status == 0
    assert lines == [
        f"the way to {orthanc.dicomweb_url}",
        "ok DNS 127.0.0.1",
        f"ok TCP 127.0.0.1:{orthanc.http_port}",
        "ok credentials none",
        "ok list 200 to a search",
        "ok write 200 to a request without an instance: instances would be looked at",
        "reachable: images can be stored",
    ]


async def test_the_first_obstacle_ends_it_with_a_sentence_and_exit_status_1() -> None:
    port = free_port()
    status, lines = await check(*flags(f"http://127.0.0.1:{port}/dicom-web"))
    assert status == 1
    assert lines == [
        f"the way to http://127.0.0.1:{port}/dicom-web",
        "ok DNS 127.0.0.1",
        f"FAIL TCP 127.0.0.1:{port} refuses connections",
        "- credentials not reached",
        "- list not reached",
        "- write not reached",
        "not reachable, at TCP",
    ]


async def test_in_a_pod_it_finds_the_document_and_the_secrets_by_itself_and_speaks_json(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    async with FaultStore() as store:
        store.search_reply = Reply(401, "", "text/plain")
        spec = {"aeTitle": "GATE", "dicomStore": store.url, "credentials": {"bearerTokenSecret": {"name": "t"}, "allowInsecure": True}}
        (tmp_path / "config" / "dicomadapter.yaml").write_text(json.dumps(spec))
        secret = tmp_path / "secrets" / "t"
        secret.mkdir(parents=True)
        (secret / "token").write_text("t0ps3cret")
        status, out, err = await run(*COMMAND, "check", f"--mounts_directory={tmp_path}", "--json")
        assert store.requests[-1][2]["Authorization"] == "Bearer t0ps3cret"
    found: dict[str, Any] = json.loads(out)
    sentence = (
        "the store answers 401 Unauthorized: the credentials in Secret 't', key 'token', are not accepted; renew them, no restart is needed"
    )
    assert (status, err, found["version"], found["store"]) == (1, "", 1, store.url)
    assert (found["reason"], found["message"]) == ("Unauthorized", sentence)
    assert [(step["name"], step["outcome"]) for step in found["steps"]] == [
        ("DNS", "passed"),
        ("TCP", "passed"),
        ("credentials", "passed"),
        ("list", "failed"),
        ("write", "not reached"),
    ]
    assert found["steps"][3]["message"] == sentence
    assert all((step["milliseconds"] is None) == (step["outcome"] == "not reached") for step in found["steps"])
    assert "t0ps3cret" not in out


async def test_a_wrong_document_is_exit_status_2_and_a_machine_that_cannot_run_it_1() -> None:
    status, out, err = await run(*COMMAND, "check", "--dimse_aet=GATE", "--dicomweb_address=pacs")
    assert (status, out) == (2, "")
    assert err.startswith("--dicomweb_address: 'pacs' is neither a Cloud Healthcare path nor a URL")
    store = "projects/p/locations/l/datasets/d/dicomStores/s"
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key.json"}
    status, out, err = await run(*COMMAND, "check", "--dimse_aet=GATE", f"--dicomweb_address={store}", environment=environment)
    assert (status, out) == (1, "")
    assert err.startswith("GOOGLE_APPLICATION_CREDENTIALS: cannot read '/nonexistent/key.json'")


async def test_the_way_to_each_destination_is_walked_whatever_is_wrong_with_the_others(tmp_path: Path) -> None:
    port = free_port()
    async with FaultStore() as store, FaultStore() as locked:
        locked.search_reply = Reply(401, "", "text/plain")
        with serving(handlers=Handlers(), titles=("PACS",)) as server:
            node = {"aeTitle": "PACS", "host": "127.0.0.1"}
            destinations = [
                {"name": "locked", "dicomStore": locked.url},
                {"name": "pacs", **node, "port": server.port},
                {"name": "away", **node, "port": port},
            ]
            document = tmp_path / "adapter.yaml"
            document.write_text(json.dumps({"aeTitle": "GATE", "dicomStore": store.url, "destinations": destinations}))
            status, lines = await check(f"--config={document}")
            status_of_json, text = (await run(*COMMAND, "check", "--json", f"--config={document}"))[:2]
    unauthorized = "the store answers 401 Unauthorized: it wants credentials; name them in spec.destinations[0].credentials"
    refuses = f"127.0.0.1:{port} refuses the connection: nothing listens on this port"
    assert status == status_of_json == 1
    assert [line for line in lines if not line.startswith(("ok", "- "))] == [
        f"the way to {store.url}",
        "reachable: images can be stored",
        "",
        f"'locked': the way to {locked.url}",
        f"FAIL list {unauthorized}",
        "not reachable, at list",
        "",
        f"'pacs': C-ECHO to PACS@127.0.0.1:{server.port} as GATE",
        "it answers",
        "",
        f"'away': C-ECHO to PACS@127.0.0.1:{port} as GATE",
        f"FAIL TCP {refuses}",
        "no answer, at TCP",
    ]
    found = json.loads(text)
    assert (found["store"], found["reason"]) == (store.url, "Reachable")
    assert [(one["name"], one["message"]) for one in found["destinations"]] == [
        ("locked", unauthorized),
        ("pacs", "status 0000"),
        ("away", refuses),
    ]
