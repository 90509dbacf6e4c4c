"""One module per DIMSE service: request in, status out."""
