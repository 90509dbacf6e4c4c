"""The controller that turns DicomAdapter resources into running DICOM to DICOMweb adapters."""

__version__ = "0.1.0"
