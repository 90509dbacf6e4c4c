"""The `spec` of a DicomAdapter, part by part: each module reads its fields, fills in defaults and refuses what cannot work. Pure."""
