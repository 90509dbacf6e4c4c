"""The senders and receivers of real life: dcmtk's tools, Node.js, and what they are given to send."""

import os
import random
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage, generate_uid

from tests.adapter.dimse.serving import Serving, eventually
from tests.support.orthanc import free_port

NODE = Path(__file__).resolve().parents[2] / "node"


def dcmtk(tool: str) -> str:
    """Where a tool of dcmtk is; pynetdicom's scripts of the same names in the virtual environment are not meant."""
    program = shutil.which(tool, path="/usr/local/bin:/usr/bin:/bin")
    assert program, f"dcmtk's {tool} is missing: apt-get install dcmtk"
    return program


def run(server: Serving, tool: str, *arguments: str | Path, called: str = "GATE") -> subprocess.CompletedProcess[str]:
    """Run a tool of dcmtk against a server."""
    return run_at(server.port, tool, *arguments, called=called)


def run_at(port: int, tool: str, *arguments: str | Path, called: str = "GATE") -> subprocess.CompletedProcess[str]:
    """Run a tool of dcmtk against whoever listens there."""
    options = [argument for argument in arguments if isinstance(argument, str)]
    files = [str(argument) for argument in arguments if isinstance(argument, Path)]
    return subprocess.run(
        [dcmtk(tool), *options, "-aec", called, "127.0.0.1", str(port), *files],
        env=os.environ | {"TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def storescp(directory: Path, *options: str) -> Iterator[int]:
    """A storescp of dcmtk that writes what it receives into a directory, bit for bit and each into a file of its own; gives its port."""
    directory.mkdir()
    port = free_port()
    command = [dcmtk("storescp"), "--bit-preserving", "--unique-filenames", "--output-directory", str(directory), *options, str(port)]
    process = subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        eventually(lambda: run_at(port, "echoscu").returncode == 0)
        yield port
    finally:
        process.kill()
        process.wait()


def node(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script of tests/node. Without npm `make setup` has said that these tests cannot run; in CI they must."""
    if not (NODE / "node_modules").is_dir():
        missing = "tests/node/node_modules is missing: make setup installs it where there is npm"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    command = ["node", str(NODE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class Sent(NamedTuple):
    """A data set as it goes over the wire, and its transfer syntax."""

    transfer_syntax_uid: str
    data_set: bytes


def read(file: Path) -> Sent:
    """What a Part 10 file holds."""
    return Sent(str(read_file_meta_info(file).TransferSyntaxUID), data_set_of(file))


def data_set_of(path: Path) -> bytes:
    """The bytes of a Part 10 file after its meta information."""
    content = path.read_bytes()
    return content[132 + 12 + int.from_bytes(content[140:144], "little") :]


def write_ct(path: Path, size: int) -> tuple[str, bytes]:
    """Write a CT image with pixel data of its own; return its SOP instance UID and its data set bytes."""
    image, uid = ct_image(), generate_uid()
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
    image.PixelData = random.Random(str(path)).randbytes(size)
    image.save_as(path)
    return str(uid), data_set_of(path)


@cache
def ct_image() -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    del image[0xFFFCFFFC]  # trailing padding, which dcmtk does not send
    return image


@cache
def files_of_pydicom() -> tuple[Path, ...]:
    """Every file inside pydicom's wheel that a sender can send: its meta information says of what class and in which syntax it is."""
    found = []
    for file in sorted((Path(pydicom.__file__).parent / "data").rglob("*")):
        if file.is_file() and file.read_bytes()[128:144] == b"DICM\x02\0\0\0UL\x04\0" + file.read_bytes()[140:144]:
            meta = read_file_meta_info(file)
            said = [meta.get(name) for name in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")]
            if all(said) and MediaStorageDirectoryStorage not in said:
                found.append(file)
    return tuple(found)
