"""The DIMSE services: request in, status out. C-STORE is a file; C-FIND, C-MOVE with C-GET, and storage commitment are packages."""
