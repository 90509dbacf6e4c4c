"""Images on disk between the acknowledgement and the store: files and their names, no DICOM and no network."""
