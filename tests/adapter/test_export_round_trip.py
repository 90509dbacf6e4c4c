"""The whole way: a modality's image goes through a DicomAdapter into Orthanc, and through an exporter that searches there to a node."""

from __future__ import annotations

from pathlib import Path

from tests.adapter.dimse.peers import read, storescp
from tests.support.adapter import Adapter, dcmsend
from tests.support.dicom import write_samples
from tests.support.exporting import Exporter
from tests.support.orthanc import Orthanc

NAMES = ("CT", "MR implicit", "JPEG baseline", "JPEG-LS", "RLE")


async def test_an_image_sent_to_an_adapter_ends_in_another_node_byte_for_byte(tmp_path: Path) -> None:
    files = write_samples(tmp_path, NAMES)
    with storescp(tmp_path / "straight", "+xa") as port:  # dcmsend leaves trailing padding out and writes sequences anew
        await dcmsend(port, files)
    sent = set(map(read, (tmp_path / "straight").iterdir()))
    assert len(sent) == len(NAMES)
    ledger, received = tmp_path / "exported.db", tmp_path / "received"
    with Orthanc() as orthanc, storescp(received, "+xa") as port:
        document = {
            "source": {"dicomStore": orthanc.dicomweb_url, "poll": {"intervalSeconds": 1, "lookbackDays": 36_500}},
            "destination": {"peer": {"aeTitle": "NODE", "host": "127.0.0.1", "port": port}},
            "delivery": {"maxAssociations": 1},
        }
        async with Adapter(orthanc.dicomweb_url) as adapter, Exporter(document, ledger=ledger) as exporter:
            await dcmsend(adapter.port, files)
            await exporter.poll(lambda: _exported(exporter, len(NAMES)))
        found = list(map(read, received.iterdir()))
        assert set(found) == sent
        async with Exporter(document, ledger=ledger) as exporter:  # the next one knows what was sent
            await exporter.poll(lambda: _searched(exporter))
            assert (await exporter.status())["exported"] == 0
        assert len(list(received.iterdir())) == len(NAMES)


async def _exported(exporter: Exporter, count: int) -> bool:
    return bool((await exporter.status())["exported"] == count)


async def _searched(exporter: Exporter) -> bool:
    """Whether two sweeps have been made."""
    lines = (await exporter.get("/metrics"))[1].splitlines()
    asked = [line for line in lines if line.startswith('dicomweb_requests_total{code="200",method="GET"}')]
    return bool(asked) and float(asked[0].rpartition(" ")[2]) > len(NAMES)
