"""`python -m dicom_adapter` is the command `dicom-adapter`."""

import sys

# pydicom imports every codec that it finds: 30 MB, and C libraries beside the associations. They are for `dicom_adapter.transform` alone.
for codec in ("numpy", "gdcm", "pylibjpeg", "openjpeg", "jpeg_ls"):
    sys.modules[codec] = None  # type: ignore[assignment]  # "not there", for whoever imports it
# pydicom asks for requests to fetch its test images; whoever wants a Google token imports it then, and an adapter starts sooner without.
sys.modules.setdefault("requests", None)  # type: ignore[arg-type]

from dicom_adapter.cli import run  # noqa: E402 -- after that

if sys.modules["requests"] is None:
    del sys.modules["requests"]

__all__ = ["run"]

if __name__ == "__main__":
    run()
