"""What Google's adapter has left in its `--persistent_file_storage_location`: `<SOP Instance UID>_<0 to 999>.dcm`, whole Part 10 files
that it never looks at again. They are taken into the spool; the old file goes when the new one is safe.

Nothing proves that such a file is whole, so the store is its judge; what does not even begin as a DICOM file goes to `failed` from there.
"""

from __future__ import annotations

import itertools
import re

from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.spool import Spool
from dicom_adapter.spool.storage import Storage

_NAME = re.compile(r"[0-9.]{1,64}_[0-9]{1,3}\.dcm")
_STEP = 1 << 20
_SOME = 1000


def find(storage: Storage, without: set[str]) -> list[str]:
    """The names of some that are not among those `without`. Raises OSError."""
    found = (name for name in storage.scan("") if name not in without and _NAME.fullmatch(name))
    return sorted(itertools.islice(found, _SOME))


def adopt(spool: Spool, name: str, destination: str) -> Entry:
    """Takes one into the spool. Raises SpoolError, OSError."""
    size = spool.storage.size(name)
    draft = spool.begin([spool.storage.read(name, 0, _STEP)])
    try:
        while draft.length < size and (piece := spool.storage.read(name, draft.length, _STEP)):
            spool.add(draft, [piece])
    except OSError:
        spool.abandon(draft)
        raise
    entry = spool.commit(draft, [destination])
    spool.storage.unlink(name)
    return entry
