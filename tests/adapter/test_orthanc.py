"""The whole way to Orthanc: what the modality sends is in the store, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.adapter import Adapter, dcmsend
from tests.support.dicom import SAMPLES, generated, instance, split, write_samples
from tests.support.orthanc import Orthanc
from tests.support.rawscu import send_instances


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    with Orthanc() as server:
        yield server


async def test_the_data_set_bytes_that_went_over_the_wire_are_the_bytes_in_the_store(orthanc: Orthanc, tmp_path: Path) -> None:
    sent = [instance(path) for path in write_samples(tmp_path)]
    sent += [generated(), generated(6 << 20)]  # a private SOP class, received whole and streamed
    async with Adapter(orthanc.dicomweb_url) as adapter:
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in sent]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        assert outcomes == [(0, "")] * len(sent)
    for one in sent:
        meta, data_set = split(orthanc.file(one.sop_instance_uid))
        assert (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) == (one.sop_class_uid, one.transfer_syntax_uid)
        assert data_set == one.data_set


async def test_dcmsend_reports_success_for_each_image_and_they_are_found_by_qido(orthanc: Orthanc, tmp_path: Path) -> None:
    files = write_samples(tmp_path)
    async with Adapter(orthanc.dicomweb_url) as adapter:
        printed = await dcmsend(adapter.port, files)
        await adapter.store_becomes("Reachable")
    assert f"* with status SUCCESS  : {len(SAMPLES)}" in printed, printed
    assert {instance(path).sop_instance_uid for path in files} <= orthanc.instances()
    assert {line["severity"] for line in adapter.lines} == {"INFO"}, adapter.lines
