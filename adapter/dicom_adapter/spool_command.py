"""`dicom-adapter spool`: what waits and what has failed, while an adapter works on it or when none does. No patient data is shown.

Whatever is listed comes line by line as the directory gives it, so a million images need no more memory than ten.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from dicom_adapter import flags, part10
from dicom_adapter.config import ConfigError
from dicom_adapter.environment import SPOOL_DIRECTORY
from dicom_adapter.flags import Flag
from dicom_adapter.logs import timestamp
from dicom_adapter.messages.counting import counted
from dicom_adapter.reader import did_you_mean
from dicom_adapter.spool import errors
from dicom_adapter.spool.access import Listed, NoAnswer, SpoolAccess, State
from dicom_adapter.spool.entry import FAILED, READY, Entry
from dicom_adapter.spool.errors import SpoolInUse

VERSION = 1
_HEAD_BYTES = 4096
_STATES: dict[State, str] = {READY: "waiting", FAILED: "failed"}  # type: ignore[dict-item]
_DIRECTORY = Flag("--spool_directory", "DIRECTORY", f"the spool (default {SPOOL_DIRECTORY}, as in a pod)", needs_value=True)
_JSON = Flag("--json", "", "JSON instead of lines for people; of list one document a line", switch=True)
_DESTINATION = Flag("--destination", "NAME", "of this destination alone, by its name; dicomStore is spec.dicomStore", needs_value=True)
_FAILED = Flag("--failed", "", "only what has failed", switch=True)
_ALL = Flag("--all", "", "everything that has failed, instead of naming it", switch=True)
_WAITING = Flag("--waiting", "", "discard images that wait, too: they were acknowledged, and perhaps nobody else has them", switch=True)
_TO = Flag("--to", "DIRECTORY", "where to write the images, each as a DICOM file", needs_value=True)

USAGE = """\
usage: dicom-adapter spool COMMAND [IMAGE...] [FLAG...]

Looks into the spool of a running adapter, or of one that is stopped. An IMAGE is named by its id, as list shows it. Patient data is never
shown.

  status       how many images wait for each destination, how many have failed, and since when
  list         every image: id, destination, state, size, time, and why it has failed
  show         all that is known of images
  retry        send images again that have failed; the running adapter begins within a second
  discard      remove images that have failed
  export       write images as DICOM files into a directory

{flags}

  --help                       this text

Exit status: 0 when it is done, 1 when there is nothing of that name or the spool cannot be read, 2 when the command line is wrong.
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A checked command line."""

    access: SpoolAccess
    images: tuple[str, ...]
    values: Mapping[str, str]
    out: TextIO
    err: TextIO

    def has(self, flag: Flag) -> bool:
        return self.values.get(flag.name) == "true"

    def each(self) -> Iterator[Listed]:
        state: State | None = FAILED if self.has(_FAILED) else None  # type: ignore[assignment]
        return self.access.each(destination=self.values.get(_DESTINATION.name), state=state)

    def named(self) -> list[Listed]:
        """The images that are named, or all that have failed."""
        destination = self.values.get(_DESTINATION.name)
        if self.has(_ALL):
            return list(self.access.each(destination=destination, state=FAILED))  # type: ignore[arg-type]
        found = []
        for name in self.images:
            listed = [one for one in self.access.find(name) if destination in (None, one.destination)]
            if not listed:
                raise _NothingThere(f"{name}: there is no such image in the spool; dicom-adapter spool list shows what there is")
            found += listed
        return found

    def chosen(self) -> list[Listed] | None:
        """The images that are named; None for all that have failed, which may be too many to hold."""
        return None if self.has(_ALL) else self.named()


class _NothingThere(Exception):
    """Exit status 1, and this line."""


def spool(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    """Runs one of the commands; returns the exit status."""
    name, *rest = arguments or ("--help",)
    if name in ("--help", "-h"):
        out.write(_usage())
        return 0
    command = _COMMANDS.get(name)
    if command is None:
        err.write(f"{name}: is not a command of spool{did_you_mean(name, _COMMANDS) or '; see dicom-adapter spool --help'}\n")
        return 2
    scanned = flags.scan(rest, "spool", (*command.flags, _DIRECTORY, _JSON), files=command.images)
    if scanned.help:
        out.write(_usage())
        return 0
    wrong = [*scanned.errors, *_wrong(name, command, scanned)]
    if wrong:
        err.writelines(f"{error}\n" for error in wrong)
        return 2
    root = scanned.values.get(_DIRECTORY.name, SPOOL_DIRECTORY)
    try:
        if not os.path.isdir(root):
            raise _NothingThere(f"{root}: there is no spool; name its directory with {_DIRECTORY.name}")
        return command.run(_Asked(SpoolAccess(root), tuple(scanned.files), scanned.values, out, err))
    except _NothingThere as why:
        err.write(f"{why}\n")
    except NoAnswer:
        err.write("the adapter that works on this spool has not answered; it does what it was asked when it comes to it\n")
    except SpoolInUse:
        err.write("another process has just taken the spool; try again\n")
    except OSError as error:
        err.write(f"{error.filename or root}: {errors.why(error)}\n")
    return 1


def _wrong(name: str, command: _Command, scanned: flags.Scanned) -> Iterator[ConfigError]:
    everything = scanned.values.get(_ALL.name) == "true"
    if command.images and not scanned.files and not everything:
        more = ", or write --all" if _ALL in command.flags else ""
        yield ConfigError("IMAGE", f"is missing; name images by their ids, as dicom-adapter spool list shows them{more}")
    if scanned.files and everything:
        yield ConfigError(_ALL.name, "is beside images; keep one of them")
    if _TO in command.flags and _TO.name not in scanned.values:
        yield ConfigError(_TO.name, f"is missing; name the directory that {name} writes into")


# -- what can be asked -----------------------------------------------------------------------------


def _status(asked: _Asked) -> int:
    found: dict[str, dict[str, Any]] = {}
    for one in asked.access.destinations():
        found[one] = {"waiting": 0, "waitingBytes": 0, "failed": 0, "failedBytes": 0, "oldest": None}
    for listed in asked.each():
        counts, word = found[listed.destination], _STATES[listed.state]
        counts[word] += 1
        counts[f"{word}Bytes"] += listed.entry.length
        if word == "waiting":
            counts["oldest"] = min(counts["oldest"] or listed.entry.seconds, listed.entry.seconds)
    for counts in found.values():
        oldest = counts.pop("oldest")
        counts["oldestTime"] = None if oldest is None else timestamp(oldest)
    held = asked.access.is_held()
    if asked.has(_JSON):
        document = {"version": VERSION, "running": held, "destinations": [{"name": name, **counts} for name, counts in found.items()]}
        asked.out.write(json.dumps(document, indent=2) + "\n")
        return 0
    asked.out.write(f"{'DESTINATION':<24}{'WAITING':>9}{'BYTES':>16}{'FAILED':>8}  OLDEST\n")
    for name, counts in found.items():
        oldest = counts["oldestTime"] or "-"
        asked.out.write(f"{name:<24}{counts['waiting']:>9}{counts['waitingBytes']:>16}{counts['failed']:>8}  {oldest}\n")
    asked.out.write("an adapter works on it\n" if held else "no adapter works on it\n")
    return 0


def _list(asked: _Asked) -> int:
    if not asked.has(_JSON):
        asked.out.write(f"{'ID':<18}{'DESTINATION':<24}{'STATE':<9}{'BYTES':>12}  {'RECEIVED':<26}WHY\n")
    for listed in asked.each():
        story = asked.access.story(listed) if listed.state == FAILED else {}
        if asked.has(_JSON):
            asked.out.write(json.dumps(_entry(listed, story)) + "\n")
        else:
            entry = listed.entry
            why = f"{story.get('status', '')} {story.get('comment', '')}".strip()
            row = (
                f"{_id(entry):<18}{listed.destination:<24}{_STATES[listed.state]:<9}{entry.length:>12}  {timestamp(entry.seconds):<26}{why}"
            )
            asked.out.write(row.rstrip() + "\n")
    return 0


def _show(asked: _Asked) -> int:
    shown = [_details(asked.access, listed) for listed in asked.named()]
    if asked.has(_JSON):
        asked.out.write(json.dumps({"version": VERSION, "images": shown}, indent=2) + "\n")
        return 0
    for number, fields in enumerate(shown):
        asked.out.write("\n" if number else "")
        asked.out.writelines(f"{name:<20}{value}\n" for name, value in fields.items() if value is not None)
    return 0


def _retry(asked: _Asked) -> int:
    chosen = asked.chosen()
    if waiting := [listed for listed in chosen or () if listed.state == READY]:
        raise _NothingThere(
            f"{_id(waiting[0].entry)}: waits for '{waiting[0].destination}' and is delivered by itself; only what has failed is retried"
        )
    return _act(asked, "retry", chosen, "{are} sent again", "would be sent again when an adapter runs")


def _discard(asked: _Asked) -> int:
    chosen = asked.chosen()
    waiting = [listed for listed in chosen or () if listed.state == READY]
    if waiting and not asked.has(_WAITING):
        one = waiting[0]
        raise _NothingThere(
            f"{_id(one.entry)}: waits for '{one.destination}'. It was acknowledged, and perhaps nobody else has it: export it first, then "
            "add --waiting"
        )
    return _act(asked, "discard", chosen, "{are} removed", "{are} removed")


def _act(asked: _Asked, action: Any, chosen: list[Listed] | None, running: str, stopped: str) -> int:
    held = asked.access.is_held()
    done = asked.access.act(action, chosen, destination=asked.values.get(_DESTINATION.name))
    if asked.has(_JSON):
        asked.out.write(json.dumps({"version": VERSION, "action": action, "images": done}) + "\n")
    else:
        what = (running if held else stopped).format(are="is" if done == 1 else "are")
        asked.out.write(f"{counted(done, 'image')} {what}\n")
    return 0 if chosen is None or done == len(chosen) else 1


def _export(asked: _Asked) -> int:
    directory = asked.values[_TO.name]
    os.makedirs(directory, exist_ok=True)
    written = []
    for listed in {listed.entry: listed for listed in asked.named()}.values():
        path = os.path.join(directory, listed.entry.name)
        with asked.access.open(listed) as source, open(path, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        written.append(path)
        if not asked.has(_JSON):
            asked.out.write(f"{path}\n")
    if asked.has(_JSON):
        asked.out.write(json.dumps({"version": VERSION, "files": written}, indent=2) + "\n")
    return 0


# -- what is shown ---------------------------------------------------------------------------------


def _id(entry: Entry) -> str:
    return f"{entry.id:016x}"


def _entry(listed: Listed, story: Mapping[str, Any]) -> dict[str, Any]:
    entry = listed.entry
    return {
        "id": _id(entry),
        "destination": listed.destination,
        "state": _STATES[listed.state],
        "bytes": entry.length,
        "received": timestamp(entry.seconds),
        **{name: story.get(name) for name in ("status", "comment", "reason", "httpStatus", "attempts", "failed")},
    }


def _details(access: SpoolAccess, listed: Listed) -> dict[str, Any]:
    with access.open(listed) as file:
        meta = part10.file_meta(file.read(_HEAD_BYTES))
    return {
        **_entry(listed, access.story(listed)),
        "sopInstanceUID": meta.sop_instance_uid if meta else None,
        "sopClassUID": meta.sop_class_uid if meta else None,
        "transferSyntaxUID": meta.transfer_syntax_uid if meta else None,
        "file": listed.entry.name,
    }


def _usage() -> str:
    shown = (_DIRECTORY, _DESTINATION, _FAILED, _ALL, _WAITING, _TO, _JSON)
    return USAGE.format(flags="\n".join(flags.line(flag) for flag in shown))


@dataclass(frozen=True, slots=True)
class _Command:
    """A command, its flags, and whether images are named."""

    run: Callable[[_Asked], int]
    flags: tuple[Flag, ...]
    images: bool = True


_COMMANDS = {
    "status": _Command(_status, (_DESTINATION,), images=False),
    "list": _Command(_list, (_DESTINATION, _FAILED), images=False),
    "show": _Command(_show, (_DESTINATION,)),
    "retry": _Command(_retry, (_DESTINATION, _ALL)),
    "discard": _Command(_discard, (_DESTINATION, _ALL, _WAITING)),
    "export": _Command(_export, (_DESTINATION, _ALL, _TO)),
}
