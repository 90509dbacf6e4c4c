"""The DICOMweb client (PS3.18): knows HTTP, multipart and what stores answer; nothing of DIMSE."""
