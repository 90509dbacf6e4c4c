"""What a DicomAdapter or DicomExport becomes: its children as documents to apply. Pure."""
