"""The spool, and what is delivered from it."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_adapter.config import ConfigError
from dicom_adapter.messages.counting import counted


def spool_at_reserve(free: int, reserve: int) -> str:
    """Error Comment at `spool.reserveBytes`."""
    return f"Spool full: {_gib(free)} free, {_gib(reserve)} is kept in reserve"


def spool_over_maximum(used: int, most: int) -> str:
    """Error Comment at `spool.maxBytes`."""
    return f"Spool full: {_gib(used)} wait, {_gib(most)} is spool.maxBytes"


def spool_write_failed(why: str) -> str:
    """Error Comment at a disk's error."""
    return f"Spool write failed: {why}"


SPOOL_DELIVERING = "images go to their destinations as they come"
SPOOL_FULL = "the spool is full: senders get A700 and keep their images until the store takes the backlog; or enlarge spool.maxBytes"


def spool_faulty(pod: str, directory: str, code: str) -> str:
    """An fsync has failed: the end, until a restart."""
    who, where = (f"pod {pod}", f"claim 'spool-{pod}'") if pod else ("the adapter", f"the volume of {directory}")
    return f"{who} could not fsync its spool ({code}) and acknowledges nothing until it restarts: check {where}"


def spool_not_writable(pod: str, directory: str, why: str) -> str:
    """Writing fails for now."""
    who, where = (f"pod {pod}", f"claim 'spool-{pod}'") if pod else ("the adapter", f"the volume of {directory}")
    return f"{who} cannot write to its spool ({why}): senders get A700 and keep their images; check {where}"


def spool_backlogged(destinations: Sequence[str], seconds: int, instances: int | None) -> str:
    """Condition Delivering=False Backlogged. The numbers are the configuration's."""
    names = ", ".join(f"'{name}'" for name in destinations)
    more = f", or more than {instances} of them" if instances is not None else ""
    return (
        f"images for {names} wait for longer than {_duration(seconds)}{more} (spec.delivery.backlogThresholds): they are kept in the "
        "spool, senders are not affected"
    )


def spool_in_use(directory: str) -> str:
    """The lock is held."""
    return str(ConfigError("--spool_directory", f"another process works on '{directory}'; end it, or name another directory"))


def spool_unusable(directory: str, why: str) -> str:
    """It cannot be made or read at the start."""
    return str(ConfigError("--spool_directory", f"cannot use '{directory}' ({why}); mount a writable volume there or name another"))


def spool_without_links(directory: str, why: str) -> str:
    """Several destinations share one file."""
    why = f"the volume of '{directory}' has no hard links ({why}), which several destinations need"
    return str(ConfigError("--spool_directory", f"{why}; use another volume"))


def spool_adopted(instances: int, destination: str) -> str:
    """Found at the start."""
    return f"found {counted(instances, 'image')} in the spool for '{destination}': {_they_are(instances)} delivered now"


def spool_orphaned(instances: int, destination: str) -> str:
    """Found at the start, for a destination that is not configured any more."""
    return (
        f"found {counted(instances, 'image')} in the spool for '{destination}', which is not in spec.destinations any more: "
        f"{'it stays; add the destination' if instances == 1 else 'they stay; add it'} again, or discard {_them(instances)} with "
        "`dicom-adapter spool discard`"
    )


SPOOL_RECOVERED = "the spool takes images again, and they are delivered as they come"


def spool_trouble(why: str) -> str:
    """Reading or moving what is in it fails."""
    return f"the spool cannot be worked on ({why}): what is in it waits; check its volume"


def leftovers_adopted(instances: int) -> str:
    """Files of Google's adapter."""
    files = counted(instances, "file")
    return f"found {files} that Google's adapter has left in the spool's directory: {_they_are(instances)} delivered now"


def left_in_spool(instances: int) -> str:
    """The end of a drain."""
    are, stay = ("is", "it stays") if instances == 1 else ("are", "they stay")
    return f"{counted(instances, 'image')} {are} undelivered: {stay} in the spool, and the next start delivers {_them(instances)}"


def delivery_refused(destination: str, text: str) -> str:
    """A spooled image will not be delivered as it is."""
    return f"delivery to '{destination}' refused for good: {text}"


def delivery_damaged(destination: str, text: str) -> str:
    """A spooled image's file is not what was acknowledged."""
    return f"an image in the spool for '{destination}' is damaged and was moved to failed: {text}"


def delivered_with_warning(destination: str, status: int) -> str:
    """The store has coerced something."""
    return f"delivery to '{destination}': stored with warning {status:04X}"


def delivered_with_remark(destination: str, remark: str) -> str:
    """Stored, but the answer was odd."""
    return f"delivery to '{destination}': {remark}"


def damaged_length(found: int, wanted: int) -> str:
    """Shorter or longer than it was."""
    return f"it has {counted(found, 'byte')} instead of {wanted}"


DAMAGED_CHECKSUM = "its checksum is not the one it had"
DAMAGED_HEAD = "it does not begin as a DICOM file does"


def _they_are(number: int) -> str:
    return "it is" if number == 1 else "they are"


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def _gib(size: int) -> str:
    """`0.4 GiB`, `1 GiB`, `20 MiB`."""
    if size < 1 << 20:
        return f"{size / (1 << 10):.3g} KiB"
    if size < 100 << 20:
        return f"{size / (1 << 20):.3g} MiB"
    return f"{size / (1 << 30):.1f}".removesuffix(".0") + " GiB"


def _duration(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
