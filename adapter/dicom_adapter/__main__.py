"""`python -m dicom_adapter` is the command `dicom-adapter`."""

import sys

# pydicom imports every codec that it finds: 30 MB, and C libraries beside the associations. They are for `dicom_adapter.transform` alone.
for codec in ("numpy", "gdcm", "pylibjpeg", "openjpeg", "jpeg_ls"):
    sys.modules[codec] = None  # type: ignore[assignment]  # "not there", for whoever imports it

from dicom_adapter.cli import run  # noqa: E402 -- after that

__all__ = ["run"]

if __name__ == "__main__":
    run()
