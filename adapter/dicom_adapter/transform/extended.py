"""JPEG of 12 bits (PS3.5 8.2.1, process 4) through GDCM, as a decoding plugin of pydicom: its own way to GDCM is for 8 bits only.

What GDCM makes of it is what dcmtk makes of it, value by value; a test compares.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import JPEGExtended12Bit

PLUGIN: Final = "gdcm of 12 bits"
DECODER_DEPENDENCIES: Final = {JPEGExtended12Bit: ("gdcm>=3.0.10",)}
_PIXEL_DATA: Final = (0x7FE0, 0x0010)


@cache
def register() -> None:
    """Makes the plugin known to pydicom."""
    get_decoder(JPEGExtended12Bit).add_plugin(PLUGIN, (__name__, decode.__name__))


def is_available(uid: str) -> bool:
    """What pydicom asks of a plugin."""
    return uid in DECODER_DEPENDENCIES


def decode(source: bytes, runner: DecodeRunner) -> bytes:
    """The pixels of a frame."""
    import gdcm  # a codec: only the process that decodes loads it

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(*_PIXEL_DATA))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if runner.samples_per_pixel > 1:
        image.SetPlanarConfiguration(runner.planar_configuration)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))))
    stored = runner.bits_stored
    image.SetPixelFormat(gdcm.PixelFormat(runner.samples_per_pixel, runner.bits_allocated, stored, stored - 1, runner.pixel_representation))
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))
