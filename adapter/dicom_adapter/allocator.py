"""The C library's allocator, told what we are: data sets pass through in chunks of a quarter of a megabyte that live for microseconds.

Left alone glibc gives each back to the kernel as soon as it is freed and asks for it again, page by page: with four associations that send
0.5 MB images, 100 page faults an image and more than half of the receiver's CPU time.
"""

from __future__ import annotations

import ctypes
from typing import Final

TRIM_THRESHOLD_BYTES: Final = 32 << 20
"""How much freed memory is kept."""
MMAP_THRESHOLD_BYTES: Final = 1 << 20
"""From this size on an object is mapped for itself, and unmapped when it is freed."""

# mallopt(3)
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Has this process keep a little freed memory instead of none; False where the C library cannot be told (musl, macOS)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)) and bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES))
