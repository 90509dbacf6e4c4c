"""What the kernel is asked for, in a process of its own: page faults are counted, not timed."""

from __future__ import annotations

import subprocess
import sys

PAGES = 256 * 1024 // 4096
CHURN = """
import resource
def churn():
    for _ in range(100):
        kept = [bytes(1) * (256 * 1024) for _ in range(8)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(first: str = "") -> int:
    done = subprocess.run([sys.executable, "-c", first + CHURN], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_chunks_that_come_and_go_cost_no_page_faults() -> None:
    assert _faults() > 50 * PAGES, "the C library keeps freed memory by itself: allocator.py can go"
    assert _faults("from dicom_adapter import allocator; assert allocator.keep_freed_memory()\n") < PAGES


def test_what_is_larger_goes_back_at_once() -> None:
    resident = (
        "from pathlib import Path\n"
        "from dicom_adapter import allocator\n"
        "allocator.keep_freed_memory()\n"
        "pages = lambda: int(Path('/proc/self/statm').read_text().split()[1])\n"
        "before = pages()\n"
        "large = bytes(1) * (64 << 20)\n"
        "del large\n"
        "print((pages() - before) * 4096)\n"
    )
    done = subprocess.run([sys.executable, "-c", resident], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 1 << 20
