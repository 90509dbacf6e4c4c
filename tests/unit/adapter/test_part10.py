"""File meta information, read back by pydicom."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from dicom_adapter.part10 import FileMeta
from tests.support.dicom import generated, split


@pytest.mark.parametrize("version", ["DICOMADAPTER", "DICOMADAPTER_1"])
def test_pydicom_reads_what_we_write_and_the_data_set_after_it(version: str) -> None:
    one = generated(100)
    meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", version)
    encoded = meta.encode()
    read = pydicom.dcmread(BytesIO(encoded + one.data_set))
    assert read.preamble == bytes(128)
    assert read.file_meta.FileMetaInformationVersion == b"\0\1"
    assert read.file_meta.MediaStorageSOPClassUID == one.sop_class_uid
    assert read.file_meta.MediaStorageSOPInstanceUID == one.sop_instance_uid
    assert read.file_meta.TransferSyntaxUID == one.transfer_syntax_uid
    assert read.file_meta.ImplementationClassUID == "1.2.3"
    assert read.file_meta.ImplementationVersionName == version
    assert [element.tag.element for element in read.file_meta] == [0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13]
    assert read.SOPInstanceUID == one.sop_instance_uid
    assert split(encoded + one.data_set)[1] == one.data_set
    assert len(encoded) % 2 == 0
