"""The engine with the senders of real life: dcmtk's tools and pynetdicom."""

import asyncio
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import uvloop
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from dicom_adapter.dimse import Status, StoreRequest
from tests.adapter.dimse.peers import dcmtk, run, write_ct
from tests.adapter.dimse.serving import Keeper, eventually, serving

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"


def test_echoscu() -> None:
    with serving() as server:
        done = run(server, "echoscu", "-v", "--repeat", "5")
        assert done.returncode == 0, done.stderr
        assert server.recorder.end().operations == {("C-ECHO", 0): 5}


def test_a_wrong_called_ae_title() -> None:
    with serving() as server:
        done = run(server, "echoscu", called="GATEWAY")
        assert done.returncode != 0
        assert "Called AE Title Not Recognized" in done.stderr
        assert eventually(lambda: server.recorder.rejected)[0][1].reason == 7


def test_an_abort() -> None:
    with serving(Keeper()) as server:
        run(server, "echoscu", "--abort")
        assert server.recorder.end().outcome == "aborted by peer"
        assert server.recorder.end().reason == "the peer's application aborted"


def test_over_the_limit() -> None:
    with serving(max_associations=0) as server:
        done = run(server, "echoscu")
        assert "Local Limit Exceeded" in done.stderr


def test_a_worklist_query() -> None:
    with serving(Keeper()) as server:
        done = run(server, "findscu", "-W", "-k", "0010,0010")
        assert "No Acceptable Presentation Contexts" in done.stderr
        assert [refused[1:] for refused in eventually(lambda: server.recorder.refused)] == [(WORKLIST, "Modality Worklist - FIND")]


@pytest.mark.parametrize("maximum", [4096, 16384, 131072])
@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_images_arrive_byte_exact_with_every_pdu_length(tmp_path: Path, tool: str, maximum: int) -> None:
    keeper = Keeper()
    sent = dict(write_ct(tmp_path / f"{number}.dcm", 60_000 + 2 * number * number) for number in range(8))
    with serving(keeper, max_pdu_bytes=maximum) as server:
        done = run(server, tool, "--max-send-pdu" if tool == "storescu" else "--max-pdu", str(maximum), *sorted(tmp_path.iterdir()))
        assert done.returncode == 0, done.stderr
        assert keeper.stored == sent
        assert server.recorder.end().operations == {("C-STORE", 0): 8}
        assert {request.transfer_syntax_uid for request in keeper.requests} == {ExplicitVRLittleEndian}
        assert keeper.requests[0].peer.ae_title == tool.upper()


def test_several_hundred_files_over_one_association(tmp_path: Path) -> None:
    keeper = Keeper()
    sent = dict(write_ct(tmp_path / f"{number}.dcm", 20_000) for number in range(400))
    with serving(keeper) as server:
        done = run(server, "dcmsend", "--verbose", "--scan-directories", tmp_path)
        assert "with status SUCCESS  : 400" in done.stdout + done.stderr
        assert {uid: hashlib.sha256(data).digest() for uid, data in keeper.stored.items()} == {
            uid: hashlib.sha256(data).digest() for uid, data in sent.items()
        }
        assert server.recorder.end().operations == {("C-STORE", 0): 400}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_several_senders_at_once(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """They share one receive buffer: nothing of one may end up with another, on either event loop."""
    keeper = Keeper()
    sent: dict[str, bytes] = {}
    for sender in range(4):
        directory = tmp_path / str(sender)
        directory.mkdir()
        sent |= dict(write_ct(directory / f"{number}.dcm", 300_000) for number in range(10))
    with serving(keeper, new_loop=new_loop) as server:
        command = [dcmtk("dcmsend"), "-aec", "GATE", "127.0.0.1", str(server.port), "--scan-directories"]
        senders = [subprocess.Popen([*command, str(tmp_path / str(sender))]) for sender in range(4)]
        assert [sender.wait(60) for sender in senders] == [0] * 4
        assert keeper.stored == sent


@pytest.mark.parametrize("code", [0xA700, 0xC000, 0xB000])
def test_status_and_comment_are_shown_by_the_sender(tmp_path: Path, code: int) -> None:
    async def store(request: StoreRequest) -> Status:
        return Status(code, "Http_503, UNAVAILABLE, The service is currently unavailable")

    write_ct(tmp_path / "1.dcm", 200_000)
    with serving(store) as server:
        done = run(server, "storescu", "-d", tmp_path / "1.dcm")
        assert f"0x{code:04x}" in done.stderr
        assert "[Http_503, UNAVAILABLE, The service is currently unavailable]" in done.stderr


def test_pynetdicom_as_sender() -> None:
    keeper = Keeper()
    with serving(keeper, max_pdu_bytes=4096) as server:
        sender = AE("PYNETDICOM")
        sender.add_requested_context(VERIFICATION)
        sender.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
        sender.add_requested_context(WORKLIST)
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"user", b"pass"
        identity.positive_response_requested = True
        role = build_role(CTImageStorage, scu_role=True, scp_role=True)
        association = sender.associate("127.0.0.1", server.port, ae_title="GATE", ext_neg=[identity, role])
        assert association.is_established
        assert [str(context.abstract_syntax) for context in association.rejected_contexts] == [WORKLIST]
        assert association.acceptor.user_identity is not None
        assert association.acceptor.role_selection[CTImageStorage].scp_role is False
        assert association.acceptor.implementation_version_name == "DICOMADAPTER"
        assert association.send_c_echo().Status == 0
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID, image.PatientName = CTImageStorage, generate_uid(), "A^B"
        image.PixelData = bytes(100_000)
        image["PixelData"].VR = "OW"
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert association.send_c_store(image).Status == 0
        association.release()
        encoded = DicomBytesIO()
        encoded.is_little_endian, encoded.is_implicit_VR = True, False
        write_dataset(encoded, image)
        assert keeper.stored == {image.SOPInstanceUID: encoded.getvalue()}
        eventually(lambda: server.recorder.ended)
        assert server.recorder.end().outcome == "released"
