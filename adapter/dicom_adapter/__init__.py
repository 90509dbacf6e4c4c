"""dicom-adapter: a DICOM node (PS3.7, PS3.8) whose storage is a DICOMweb service (PS3.18)."""

__version__ = "0.1.0"
