"""The command line: help, exit statuses, one line per error, and nothing listening after one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.adapter import COMMAND, Adapter, run
from tests.support.dicom import generated
from tests.support.orthanc import free_port
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore

SHAPE = "projects/P/locations/L/datasets/D/dicomStores/S"
STORE = "http://127.0.0.1:9/dicom-web"


async def adapter(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    status, out, err = await run(*COMMAND, *arguments, environment=environment)
    assert out == ""
    return status, err.splitlines()


@asynccontextmanager
async def taken_port() -> AsyncIterator[int]:
    with socket.create_server(("", 0)) as listener:
        yield listener.getsockname()[1]


async def test_help_and_version_are_answers_and_no_errors() -> None:
    for arguments in (["--help"], ["-h"], []):
        status, out, err = await run(*COMMAND, *arguments)
        assert (status, err) == (0, "")
        assert out.startswith("usage: dicom-adapter COMMAND")
    status, out, err = await run(*COMMAND, "import", "--help")
    assert (status, err) == (0, "")
    for flag in ("--config", "--http_port", "--dimse_aet", "--dimse_port", "--dicomweb_address", "--oauth_scopes", "--verbose"):
        assert flag in out
    status, out, err = await run(*COMMAND, "check", "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: dicom-adapter check")
    for flag in ("--config", "--mounts_directory", "--json", "--dimse_aet", "--dicomweb_address", "--oauth_scopes"):
        assert flag in out
    assert "--http_port" not in out
    status, out, err = await run(*COMMAND, "echo", "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: dicom-adapter echo AE@HOST:PORT")
    for flag in ("--calling", "--timeout", "--json"):
        assert flag in out
    assert (await run(*COMMAND, "--version"))[:2] == (0, "dicom-adapter 0.1.0\n")


async def test_every_wrong_flag_and_field_is_told_at_once_and_nothing_listens(tmp_path: Path) -> None:
    dimse_port, http_port = free_port(), free_port()
    file = tmp_path / "dicomadapter.yaml"
    document = {"aeTitle": "A\\B", "dicomStore": f"{STORE}/studies", "port": dimse_port, "replicaz": 1}
    file.write_text(
        json.dumps({"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "metadata": {"name": "x"}, "spec": document})
    )
    status, lines = await adapter("import", f"--config={file}", f"--http_port={http_port}", "--htp_port=1", "--dimse_port", "70000")
    assert status == 2
    assert lines == [
        "--htp_port: is not a flag of this version; did you mean '--http_port'?",
        "--dimse_port: '70000' is not a port; write a number from 1 to 65535",
        "spec.replicaz: is not a field; did you mean 'replicas'?",
        "spec.aeTitle: 'A\\\\B' cannot be an AE title; write printable ASCII without a backslash and without spaces at the ends",
        f"spec.dicomStore: must not end in /studies, the adapter adds that itself; write '{STORE}'",
    ]
    for port in (dimse_port, http_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["exprot"], ["exprot: is not a command; did you mean 'export'?"]),
        (["imprt"], ["imprt: is not a command; did you mean 'import'?"]),
        (["chek"], ["chek: is not a command; did you mean 'check'?"]),
        (["ehco"], ["ehco: is not a command; did you mean 'echo'?"]),
        (["echo"], ["AE@HOST:PORT: names no node to call; write AE@host:port, such as ARCHIVE@pacs.example:11112"]),
        (
            ["echo", "pacs.example:104", "--timeout=soon", "--calling=A\\B", "--dimse_aet=X"],
            [
                "--dimse_aet: is not a flag of this version; dicom-adapter echo --help lists them",
                "pacs.example:104: names no node to call; write AE@host:port, such as ARCHIVE@pacs.example:11112",
                "--timeout: 'soon' is no time; write seconds, at most 3600",
                "--calling: is no AE title; write 1 to 16 printable ASCII characters without a backslash",
            ],
        ),
        (["echo", "A@h:104", "--timeout"], ["--timeout: has no value; write --timeout=SECONDS"]),
        (["echo", "A@h:104", "B@h:104"], ["B@h:104: is not a flag; every argument of echo begins with --"]),
        (["echo", "A@h:104", "--timeout=nan"], ["--timeout: 'nan' is no time; write seconds, at most 3600"]),
        (
            ["check", "--dimse_aet=GATE", f"--dicomweb_address={STORE}", "now"],
            ["now: is not a flag; every argument of check begins with --"],
        ),
        (
            ["check", "--dimse_aet=GATE", f"--dicomweb_address={STORE}", "--nothing"],
            ["--nothing: is not a flag of this version; dicom-adapter check --help lists them"],
        ),
        (
            ["import"],
            [
                "--dimse_aet: is missing; write the AE title that senders call, for example IMPORTADAPTER",
                f"--dicomweb_address: is missing; write {SHAPE} or the base URL of a DICOMweb service",
            ],
        ),
        (
            ["--config=/nonexistent/x.yaml"],
            ["--config: cannot read '/nonexistent/x.yaml' (No such file or directory); name a readable DicomAdapter document"],
        ),
        (["--config=/"], ["--config: cannot read '/' (Is a directory); name a readable DicomAdapter document"]),
        (
            ["--dimse_aet=GATE", f"--dicomweb_address={STORE}", "--log_format=xml", "--http_port=x"],
            [
                "--http_port: 'x' is not a port; write a number from 1 to 65535",
                "--log_format: 'xml' is not known; write json or text",
            ],
        ),
        (["--config"], ["--config: has no value; write --config=FILE"]),
        (["--config="], ["--config: has no value; write --config=FILE"]),
        (
            ["--config=", "--dimse_aet=GATE", f"--dicomweb_address={STORE}"],
            ["--config: has no value; write --config=FILE"],
        ),
        (
            ["--dimse_aet=GATE", f"--dicomweb_address={STORE}", "--verbose=no"],
            ["--verbose: is a switch and takes no value; write --verbose alone"],
        ),
        (["--dimse_aet=GATE", f"--dicomweb_address={STORE}", "now"], ["now: is not a flag; every argument of import begins with --"]),
    ],
)
async def test_exit_status_2(arguments: list[str], expected: list[str]) -> None:
    assert await adapter(*arguments) == (2, expected)


async def test_a_document_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "dicomadapter.yaml"
    file.write_bytes(b"#" * ((1 << 20) + 1))
    told = f"--config: cannot read '{file}' (larger than 1 MiB); name a readable DicomAdapter document"
    assert await adapter(f"--config={file}") == (2, [told])
    file.write_bytes(b"\xff")
    told = f"--config: cannot read '{file}' (not UTF-8 text); name a readable DicomAdapter document"
    assert await adapter(f"--config={file}") == (2, [told])


async def test_a_port_that_is_taken_is_one_line_and_exit_status_1() -> None:
    async with taken_port() as port:
        flags = ["--dimse_aet=GATE", f"--dicomweb_address={STORE}", "--log_format=text"]
        assert await adapter(*flags, f"--dimse_port={port}", f"--http_port={free_port()}") == (
            1,
            [f"--dimse_port: port {port} cannot be opened (address already in use); free it or choose another"],
        )
        assert await adapter(*flags, f"--dimse_port={free_port()}", f"--http_port={port}") == (
            1,
            [f"--http_port: port {port} cannot be opened (address already in use); free it or choose another"],
        )


async def test_a_host_without_an_address_is_one_line_and_exit_status_1() -> None:
    status, lines = await adapter("--dimse_aet=GATE", f"--dicomweb_address={STORE}", "--http_host=no-host.invalid")
    assert status == 1
    (line,) = lines
    assert line.startswith("--http_host: 'no-host.invalid' is no address to listen on (")
    assert line.endswith("); write one of this machine's, or leave it out for all")


async def test_an_unreadable_key_file_is_one_line_and_exit_status_1() -> None:
    store = "projects/p/locations/l/datasets/d/dicomStores/s"
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key.json"}
    assert await adapter("--dimse_aet=GATE", f"--dicomweb_address={store}", environment=environment) == (
        1,
        [
            "GOOGLE_APPLICATION_CREDENTIALS: cannot read '/nonexistent/key.json' (No such file or directory); "
            "name a readable key file or unset it"
        ],
    )


async def test_a_directory_for_temporary_files_that_cannot_be_written_is_one_line_and_exit_status_1() -> None:
    assert await adapter("--dimse_aet=GATE", f"--dicomweb_address={STORE}", environment={"TMPDIR": "/proc"}) == (
        1,
        ["TMPDIR: cannot write to '/proc' (No such file or directory); mount a writable directory there or name another"],
    )


async def test_the_flags_of_googles_adapter_are_enough() -> None:
    one = generated()
    port, http_port = free_port(), free_port()
    async with FaultStore() as store:
        arguments = ["--dimse_aet", "IMPORTADAPTER", "--dimse_port", str(port), "--dicomweb_address", store.url, "--verbose"]
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, f"--http_port={http_port}", "--log_format", "text", stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        try:
            assert process.stderr
            first = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
            assert f"INFO    'IMPORTADAPTER' listens on port {port} and stores into {store.url}" in first
            wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set)]
            assert await asyncio.to_thread(send_instances, "127.0.0.1", port, "IMPORTADAPTER", "CT1", wire) == [(0, "")]
            assert list(store.stored) == [one.sop_instance_uid]
        finally:
            process.terminate()
            await asyncio.wait_for(process.communicate(), 60)


async def test_a_missing_secret_keeps_the_adapter_unready_until_it_comes() -> None:
    one = generated()
    wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set)]
    spec = {"credentials": {"bearerTokenSecret": {"name": "pacs-token"}, "allowInsecure": True}}
    async with FaultStore() as store, Adapter(store.url, spec=spec, wait=False) as adapter:
        missing = "Secret 'pacs-token' does not exist in namespace 'rad'; create it, no restart is needed"
        line = await adapter.line(missing)
        assert (line["severity"], line["event"]) == ("ERROR", "SecretMissing")
        assert await adapter.get("/readyz") == (503, f"SecretMissing: {missing}\n")
        assert (await adapter.get("/healthz"))[0] == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", adapter.port))
        directory = adapter.mounts / "secrets" / "pacs-token"
        directory.mkdir(parents=True)
        (directory / "tokne").write_text("t0ps3cret")
        wrong_key = "Secret 'pacs-token' has no key 'token' (it has 'tokne'); add it, no restart is needed"
        await adapter.line(wrong_key)
        status = await adapter.status()
        assert (status["ready"], status["reason"], status["message"]) == (False, "SecretMissing", wrong_key)
        assert status["verdict"] == {"level": "bad", "message": wrong_key}
        (directory / "token").write_text("t0ps3cret\n")
        await adapter.ready()
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire) == [(0, "")]
        assert store.posts[0].headers["Authorization"] == "Bearer t0ps3cret"
        (directory / "token").write_text("rotated-token")
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire) == [(0, "")]
        assert store.posts[1].headers["Authorization"] == "Bearer rotated-token"
        pages = str([await adapter.get(page) for page in ("/status", "/metrics")])
    assert "t0ps3cret" not in pages + str(adapter.lines)


async def test_a_signal_ends_the_wait_for_a_secret() -> None:
    spec = {"credentials": {"bearerTokenSecret": {"name": "pacs-token"}, "allowInsecure": True}}
    async with Adapter(STORE, spec=spec, wait=False) as waiting:
        await waiting.line("Secret 'pacs-token' does not exist in namespace 'rad'; create it, no restart is needed")
        waiting.signal(signal.SIGTERM)
        assert waiting.process
        assert await asyncio.wait_for(waiting.process.wait(), 60) == 0


async def test_only_what_is_needed_of_pydicom_and_pynetdicom_is_loaded() -> None:
    code = (
        "import sys, dicom_adapter.cli; print(sorted(m for m in sys.modules if m in ('pynetdicom.apps', 'pydicom.fileset', 'google.auth')))"
    )
    status, out, err = await run(COMMAND[0], "-c", code)
    assert (status, out, err) == (0, "[]\n", "")
