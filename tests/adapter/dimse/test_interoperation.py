"""What real senders send arrives as they sent it.

What a sender re-encodes on the way is compared with what dcmtk's storescp got from the same sender.
"""

import asyncio
import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import AE, _config

from dicom_adapter.dimse import Status, StoreRequest
from dicom_adapter.part10 import FileMeta
from tests.adapter.dimse import peers
from tests.adapter.dimse.peers import Sent, read, run, run_at, write_ct
from tests.adapter.dimse.serving import serving
from tests.support import dicom, rawscu
from tests.support.orthanc import Orthanc


class Book:
    """A C-STORE handler that notes what it gets in the order in which it comes."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.uids: list[str] = []

    async def __call__(self, request: StoreRequest) -> Status:
        self.uids.append(request.sop_instance_uid)
        self.sent.append(Sent(request.transfer_syntax_uid, b"".join([chunk async for chunk in request.body])))
        return Status(0)


def instance(file: Path) -> rawscu.Instance:
    meta = pydicom.filereader.read_file_meta_info(file)
    return meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, peers.data_set_of(file)


def test_every_file_of_pydicom_from_a_sender_that_sends_it_as_it_is() -> None:
    files, book = peers.files_of_pydicom(), Book()
    with serving(book) as server:
        outcomes = rawscu.send_instances("127.0.0.1", server.port, "GATE", "RAW", [instance(file) for file in files])
    assert len(files) > 150
    assert outcomes == [(0, "")] * len(files)
    assert book.sent == [read(file) for file in files]


def test_every_file_of_pydicom_from_pynetdicom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the file's bytes instead of an encoding of pydicom's
    files, book = peers.files_of_pydicom(), Book()
    with serving(book) as server:
        sender = AE("PYNETDICOM")
        for sop_class, syntax in dict.fromkeys(instance(file)[::2] for file in files):
            sender.add_requested_context(sop_class, syntax)
        association = sender.associate("127.0.0.1", server.port, ae_title="GATE")
        assert association.is_established
        assert [association.send_c_store(file).Status for file in files] == [0] * len(files)
        association.release()
    assert book.sent == [read(file) for file in files]


def test_every_file_of_pydicom_from_dcmsend(tmp_path: Path) -> None:
    """It sends two as another class than that of their presentation context, which PS3.7 9.1.1 forbids: they are refused."""
    options = ("--no-uid-checks", "--no-halt", "--decompress-never")
    files = [file for file in peers.files_of_pydicom() if file.parent.name != "palettes"]  # which storescp does not take
    book, received = Book(), tmp_path / "received"
    with serving(book) as server:
        run(server, "dcmsend", *options, *files)
        assert server.recorder.end().operations == {("C-STORE", 0): len(book.sent), ("C-STORE", 0x0122): 2}
    with peers.storescp(received, "+xa") as port:
        run_at(port, "dcmsend", *options, *files)
    theirs = Counter(read(file) for file in received.iterdir())
    assert len(book.sent) > 150
    assert Counter(book.sent) <= theirs
    assert theirs.total() == len(book.sent) + 2


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-xi", ImplicitVRLittleEndian),
        ("-xe", ExplicitVRLittleEndian),
        ("-xs", JPEGLosslessSV1),
        ("-xd", DeflatedExplicitVRLittleEndian),
    ],
)
@pytest.mark.parametrize("required", [(), ("--required",)], ids=["all classes", "required only"])
def test_the_syntax_that_storescu_proposes(tmp_path: Path, option: str, expected: str, required: tuple[str, ...]) -> None:
    """Required only: one presentation context; otherwise storescu fills the association with 128 of them."""
    lossless = next(file for file in peers.files_of_pydicom() if file.name == "SC_rgb_jpeg_gdcm.dcm")
    file = lossless if expected == JPEGLosslessSV1 else dicom.write_sample("CT", tmp_path)
    book, received = Book(), tmp_path / "received"
    with serving(book) as server:
        done = run(server, "storescu", option, *required, file)
        assert done.returncode == 0, done.stderr
    with peers.storescp(received, "+xa") as port:
        assert run_at(port, "storescu", option, *required, file).returncode == 0
    assert [sent.transfer_syntax_uid for sent in book.sent] == [expected]
    assert book.sent == [read(file) for file in received.iterdir()]


@pytest.mark.parametrize("maximum", [4096, 16384, 131072])
@pytest.mark.parametrize("tool", ["echoscu", "storescu", "dcmsend"])
def test_answers_fit_the_pdu_length_that_a_tool_announces(tmp_path: Path, tool: str, maximum: int) -> None:
    book = Book()
    write_ct(tmp_path / "1.dcm", 50_000)
    with serving(book) as server:
        done = run(server, tool, "--max-pdu", str(maximum), *([] if tool == "echoscu" else [tmp_path / "1.dcm"]))
        assert done.returncode == 0, done.stderr
        assert server.recorder.end().outcome == "released"
    assert len(book.sent) == (tool != "echoscu")


def test_storescu_that_aborts_after_its_images(tmp_path: Path) -> None:
    book = Book()
    write_ct(tmp_path / "1.dcm", 50_000)
    with serving(book) as server:
        run(server, "storescu", "--abort", tmp_path / "1.dcm")
        assert (server.recorder.end().outcome, server.recorder.end().operations) == ("aborted by peer", {("C-STORE", 0): 1})
    assert book.sent == [read(tmp_path / "1.dcm")]


def test_orthanc_as_sender(tmp_path: Path) -> None:
    """One of each transfer syntax. Orthanc may write lengths anew, so storescp is asked what it got."""
    files, book, received = dicom.write_samples(tmp_path), Book(), tmp_path / "received"
    with (
        serving(book) as server,
        peers.storescp(received, "+xa") as port,
        Orthanc(peers={"GATE": server.port, "STORESCP": port}) as orthanc,
    ):
        names = [orthanc.take(file.read_bytes()) for file in files]
        assert orthanc.send("GATE", names) == 0
        assert orthanc.send("STORESCP", names) == 0
    assert {ended.outcome for ended in server.recorder.ended} == {"released"}
    assert {sent.transfer_syntax_uid for sent in book.sent} == {read(file).transfer_syntax_uid for file in files}
    assert Counter(book.sent) == Counter(read(file) for file in received.iterdir())


def test_dcmjs_dimse_with_an_asynchronous_operations_window(tmp_path: Path) -> None:
    """None is answered before four have come. It encodes what it sends anew: the pixels are compared."""
    names = ("MR big endian", "JPEG baseline", "JPEG-LS", "JPEG 2000", "RLE")
    files, book = dicom.write_samples(tmp_path, names), Book()
    fourth = asyncio.Event()

    async def store(request: StoreRequest) -> Status:
        status = await book(request)
        if len(book.sent) == 4:
            fourth.set()
        await fourth.wait()
        return status

    with serving(store) as server:
        done = peers.node("send.js", str(server.port), "4", *files)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["window"], told["errors"]) == ([4, 1], [])
        assert told["statuses"] == {str(file): 0 for file in files}
        assert server.recorder.end().operations == {("C-ECHO", 0): 1, ("C-STORE", 0): len(files)}
    arrived = dict(zip(book.uids, book.sent, strict=True))
    for file in files:
        sop_class, uid, _, _ = instance(file)
        part10 = FileMeta(sop_class, uid, arrived[uid].transfer_syntax_uid, "1.2.3", "TEST").encode() + arrived[uid].data_set
        assert pixels(pydicom.dcmread(BytesIO(part10))) == pixels(pydicom.dcmread(file))


def pixels(image: pydicom.FileDataset) -> list[bytes]:
    """The frames as they are encoded, wherever their offset table says that they are."""
    if not image.file_meta.TransferSyntaxUID.is_encapsulated:
        return [image.PixelData]
    return list(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=int(image.get("NumberOfFrames", 1))))
