"""`dicom-adapter echo`: a typo in the AE title, a closed port, no DICOM node and a caller that is not known are told apart."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from dicom_adapter.dimse import PeerAddress
from dicom_adapter.echo import Call, echo
from tests.adapter.dimse.nodes import impostor, node
from tests.adapter.dimse.peers import storescp
from tests.adapter.dimse.test_client_failures import Play, message, response, saying
from tests.support.adapter import COMMAND, run
from tests.support.orthanc import free_port
from tests.support.rawscu import ABORT, EXPLICIT, associate_ac, pdu

ACCEPTED = associate_ac([(1, 0, "1.2.840.10008.1.2")])
RELEASE_RP = pdu(6, bytes(4))


def lines(out: str) -> list[str]:
    return [" ".join(re.sub(r"[0-9]+ ms ", "", line).split()) for line in out.splitlines()]


async def called(peer: PeerAddress, *, as_json: bool = False, seconds: float = 60.0) -> tuple[bool, str]:
    out = io.StringIO()
    return await echo(Call(peer, "WS1", seconds, as_json), out), out.getvalue()


async def test_a_node_of_dcmtk_answers(tmp_path: Path) -> None:
    with storescp(tmp_path / "received") as port:
        status, out, err = await run(*COMMAND, "echo", f"ARCHIVE@localhost:{port}", "--calling=WS1", "--timeout=60")
    assert (status, err) == (0, "")
    first, dns, *rest = lines(out)
    assert first == f"C-ECHO to ARCHIVE@localhost:{port} as WS1"
    assert re.fullmatch("ok DNS localhost is .*127.0.0.1.*", dns)
    assert rest[0] == f"ok TCP 127.0.0.1:{port}"
    assert re.fullmatch("ok association accepted by OFFIS_DCMTK_[0-9]+; PDUs of up to 16384 bytes", rest[1])
    assert rest[2:] == ["ok echo status 0000", "it answers"]


async def test_a_typo_in_the_title_is_none_in_the_host() -> None:
    async with node() as gate:
        port = gate.server.port
        answered, out = await called(PeerAddress("GATES", "127.0.0.1", port))
    assert not answered
    assert lines(out) == [
        f"C-ECHO to GATES@127.0.0.1:{port} as WS1",
        "ok DNS 127.0.0.1",
        f"ok TCP 127.0.0.1:{port}",
        "FAIL association a DICOM node is there, and its AE title is not 'GATES' (1/1/7): correct what stands before the @",
        "- echo not reached",
        "no answer, at association",
    ]


async def test_a_closed_port() -> None:
    port = free_port()
    status, out, err = await run(*COMMAND, "echo", f"GATE@127.0.0.1:{port}")
    assert (status, err) == (1, "")
    assert lines(out) == [
        f"C-ECHO to GATE@127.0.0.1:{port} as DICOMADAPTER",
        "ok DNS 127.0.0.1",
        f"FAIL TCP 127.0.0.1:{port} refuses the connection: nothing listens on this port",
        "- association not reached",
        "- echo not reached",
        "no answer, at TCP",
    ]


OBSTACLES: dict[str, tuple[Play, str]] = {
    "HTTP": (
        saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", then="close"),
        "FAIL association something listens there, and it is no DICOM node: correct the port",
    ),
    "a caller that is not known": (
        saying(pdu(3, b"\0\1\1\3")),
        "FAIL association it takes no calls from 'WS1' (1/1/3): have this AE title and address registered there, "
        "or name another with --calling",
    ),
    "a node that is full": (
        saying(pdu(3, b"\0\2\3\2")),
        "FAIL association it is there and takes no association now (2/3/2): try again later",
    ),
    "another rejection": (
        saying(pdu(3, b"\0\1\1\1")),
        "FAIL association the association was rejected (1/1/1): no reason given",
    ),
    "a close": (
        saying(b"", then="close"),
        "FAIL association it closes the connection without a word: it is no DICOM node, or takes no calls from this address",
    ),
    "silence": (
        saying(),
        "FAIL association it takes the connection and says nothing for 0.5 s: it hangs, waits for TLS, or is no DICOM node",
    ),
    "an abort": (saying(ABORT), "FAIL association the peer's application aborted"),
    "no Verification": (
        saying(associate_ac([(1, 3, EXPLICIT)]), RELEASE_RP),
        "FAIL echo it accepts the association and not Verification: the node is there, it just does no C-ECHO",
    ),
    "a failure": (saying(ACCEPTED, message(1, response(0x8030, 1, 0x0122)), RELEASE_RP), "FAIL echo status 0122"),
    "an abort of the echo": (saying(ACCEPTED, ABORT), "FAIL echo the peer's application aborted"),
}


@pytest.mark.parametrize(("play", "line"), OBSTACLES.values(), ids=OBSTACLES)
async def test_each_obstacle_has_a_sentence_that_says_what_to_do(play: Play, line: str) -> None:
    async with impostor(play) as peer:
        answered, out = await called(peer, seconds=0.5 if "says nothing for 0.5 s" in line else 60.0)
    assert not answered
    assert line in lines(out)
    assert lines(out)[-1] == f"no answer, at {line.split()[1]}"


async def test_a_name_that_nobody_has() -> None:
    _, out = await called(PeerAddress("GATE", "no-such-host.invalid", 104))
    sentence = "'no-such-host.invalid' cannot be resolved: there is no such name, or the DNS does not answer"
    assert lines(out)[1] == f"FAIL DNS {sentence}"


async def test_json_for_machines() -> None:
    async with node() as gate:
        answered, out = await called(gate.address, as_json=True)
        assert answered
        document = json.loads(out)
        assert document["peer"] == str(gate.address)
        assert (document["version"], document["callingAETitle"], document["answers"]) == (1, "WS1", True)
        assert document["message"] == "status 0000"
        assert [(step["name"], step["outcome"]) for step in document["steps"]] == [
            ("DNS", "passed"),
            ("TCP", "passed"),
            ("association", "passed"),
            ("echo", "passed"),
        ]
        assert all(0 < step["milliseconds"] < 10_000 for step in document["steps"])
        assert document["steps"][2]["message"] == "accepted by DICOMADAPTER; PDUs of up to 131072 bytes"
        answered, out = await called(PeerAddress("X", "127.0.0.1", gate.server.port), as_json=True)
        document = json.loads(out)
        assert not document["answers"]
        assert document["message"].startswith("a DICOM node is there")
        assert [step["outcome"] for step in document["steps"]] == ["passed", "passed", "failed", "not reached"]
        assert document["steps"][3]["milliseconds"] is None


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("ARCHIVE@pacs.example:11112", PeerAddress("ARCHIVE", "pacs.example", 11112)),
        ("MY PACS @10.1.2.3:104", PeerAddress("MY PACS", "10.1.2.3", 104)),
        ("A@[2001:db8::1]:104", PeerAddress("A", "2001:db8::1", 104)),
    ],
)
def test_addresses_of_peers(text: str, peer: PeerAddress) -> None:
    assert PeerAddress.parse(text) == peer
    assert PeerAddress.parse(str(peer)) == peer


@pytest.mark.parametrize(
    "text", ["", "pacs:104", "A@pacs", "A@pacs:0", "A@pacs:65536", "@pacs:1", " @pacs:1", "A@2001:db8::1:104", "A@:1", "x" * 17 + "@h:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="write AE@host:port"):
        PeerAddress.parse(text)
