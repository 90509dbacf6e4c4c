"""What is said of a DicomAdapter or DicomExport in its status, from what was done and what is observed. Pure."""
