"""A DicomAdapter with a store and a DICOM node, of which the node is away for a while: the store has its images all the same."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.pods.conftest import Adapters, send_to
from tests.pods.test_spool import NODE, in_store, volumes
from tests.support import dicom
from tests.support.kubernetes import condition, wait_until
from tests.support.orthanc import free_port

PACS = {"name": "pacs", "aeTitle": "PACS", "host": NODE}
ROUTES = [
    {"match": {"attributes": [{"keyword": "Modality", "values": ["OT"]}]}, "destinations": ["dicomStore", "pacs"]},
    {"match": {"attributes": [{"keyword": "Modality", "values": ["CT"]}]}, "destinations": ["dicomStore"]},
]
WAITS = "images for 'pacs' wait for longer than 1 s (spec.delivery.backlogThresholds): they are kept in the spool, senders are not affected"


@contextmanager
def storescp(port: int, directory: Path) -> Iterator[None]:
    """The node, which keeps what it gets as it came."""
    directory.mkdir()
    process = subprocess.Popen(["storescp", "-aet", "PACS", "+B", "+uf", "-pm", "--fork", "-od", str(directory), str(port)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def test_a_node_that_is_away_holds_up_nothing_but_what_is_for_it(adapters: Adapters, tmp_path: Path):
    port, received = free_port(), tmp_path / "received"
    volume = tmp_path / uuid.uuid4().hex[:8]  # the name of the class, which no other run has
    volume.mkdir()
    images = [dicom.generated() for _ in range(40)]
    with volumes(volume, 1) as name:
        adapter = adapters.apply(
            delivery={"acknowledge": "AfterSpool", "backlogThresholds": {"seconds": 1}},
            spool={"persistent": {"size": "1Gi", "storageClassName": name}, "reserveBytes": 1 << 20},
            destinations=[{**PACS, "port": port}],
            routes=ROUTES,
        )
        assert send_to(adapter, *images) == [(0, "")] * len(images)
        missing = [image.sop_instance_uid for image in images]

        def all_there() -> bool:
            missing[:] = [uid for uid in missing if not in_store(uid)]
            return not missing

        wait_until("the store has every image", all_there, seconds=30, every=0.5)

        def told(kind: str) -> Any:
            return condition(adapters.kubectl.get("dicomadapter", "gate"), kind)

        wait_until("it is said for whom images wait", lambda: told("Delivering").get("message") == WAITS)
        assert (told("Delivering")["status"], told("Delivering")["reason"]) == ("False", "Backlogged")
        assert told("Ready")["status"] == told("StoreReachable")["status"] == "True"
        (one,) = adapters.kubectl.get("dicomadapter", "gate")["status"]["destinations"]
        assert one == {
            "name": "pacs",
            "reachable": False,
            "reason": "Unreachable",
            "message": f"{NODE}:{port} refuses the connection: nothing listens on this port",
        }

        with storescp(port, received):
            wait_until("it is over", lambda: told("Delivering").get("status") == "True", every=0.5)
            found = {dicom.split(path.read_bytes())[1] for path in received.iterdir()}
            assert found == {image.data_set for image in images}
            wait_until("status", lambda: adapters.kubectl.get("dicomadapter", "gate")["status"]["destinations"][0]["reachable"], every=0.5)
