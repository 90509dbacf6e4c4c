"""A DicomAdapter or DicomExport as the rest of the operator sees it: parsed once, frozen, valid. Pure."""
