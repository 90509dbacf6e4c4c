"""An image in a native transfer syntax, for a peer that takes no other."""

from __future__ import annotations

from dicom_adapter.export.fetch import Image
from dicom_adapter.transform.transcode import CannotConvert
from dicom_adapter.transform.worker import Transcoder

MOST_BYTES = 512 << 20
_VIDEO = ("1.2.840.10008.1.2.4.10",)  # MPEG2, MPEG-4 and HEVC: 4.100 to 4.108


class Native:
    """Collects an image and has it converted."""

    def __init__(self, transcoder: Transcoder) -> None:
        self._transcoder = transcoder

    async def __call__(self, image: Image, wanted: str) -> bytes:
        """The data set in the transfer syntax `wanted`. Raises CannotConvert, and Failed like the image's own stream."""
        if image.transfer_syntax_uid.startswith(_VIDEO):
            raise CannotConvert("it is a video")
        content = image.data_set()
        if not isinstance(content, bytes):
            whole = bytearray()
            async for piece in content:
                whole += piece
                if len(whole) > MOST_BYTES:
                    raise CannotConvert(f"it is larger than {MOST_BYTES >> 20} MiB")
            content = bytes(whole)
        return await self._transcoder.convert(content, image.transfer_syntax_uid, wanted)
