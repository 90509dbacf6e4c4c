"""The sections of `spec`, one file each: from a Reader of the section to its dataclass in `config`, every error noted."""
