"""`dicom-adapter echo`: can this node be called? One line a step, for people or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, TextIO

from dicom_adapter import __version__, messages, steps
from dicom_adapter.dimse import (
    AssociationLost,
    AssociationRejected,
    ContextNotAccepted,
    DimseError,
    Limits,
    NotDicom,
    PeerAddress,
    PeerSilent,
    PresentationContext,
    connect,
)
from dicom_adapter.dimse.sopclasses import VERIFICATION

VERSION = 1
STEPS: Final = ("DNS", "TCP", "association", "echo")
_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class Call:
    """Whom to call, as whom, how long to wait for each step, and how to tell."""

    peer: PeerAddress
    calling_ae_title: str
    timeout: float
    as_json: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way; without seconds it was not reached."""

    name: str
    seconds: float | None = None
    message: str = messages.NOT_REACHED
    failed: bool = False


class _Walk:
    """Takes the steps in their order and their times."""

    def __init__(self, told: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self._told = told
        self._since = perf_counter()

    def passed(self, message: str) -> None:
        """The next step is done."""
        self._add(Step(STEPS[len(self.steps)], self._time(), message))

    def failed(self, message: str) -> None:
        """The next step is where it ends."""
        self._add(Step(STEPS[len(self.steps)], self._time(), message, failed=True))
        for name in STEPS[len(self.steps) :]:
            self._add(Step(name))

    def _time(self) -> float:
        now = perf_counter()
        seconds, self._since = now - self._since, now
        return seconds

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self._told(step)


async def echo(call: Call, out: TextIO, limits: Limits | None = None) -> bool:
    """Calls the node, tells of each step, and whether it has answered."""

    def tell(step: Step) -> None:
        if not call.as_json:
            out.write(steps.line(step))
            out.flush()

    if not call.as_json:
        out.write(f"C-ECHO to {call.peer} as {call.calling_ae_title}\n")
    walk = _Walk(tell)
    await _walk(call, walk, limits or Limits())
    obstacle = next((step for step in walk.steps if step.failed), None)
    if call.as_json:
        out.write(json.dumps(_document(call, walk.steps, obstacle), indent=2) + "\n")
    else:
        out.write(f"no answer, at {obstacle.name}\n" if obstacle else "it answers\n")
    return obstacle is None


async def _walk(call: Call, walk: _Walk, limits: Limits) -> None:
    seconds = call.timeout
    try:
        association = await connect(
            call.peer,
            calling_ae_title=call.calling_ae_title,
            contexts=[PresentationContext(VERIFICATION, (_IMPLICIT_VR_LITTLE_ENDIAN,))],
            limits=replace(limits, connect_timeout=seconds, association_timeout=seconds, dimse_timeout=seconds, response_timeout=seconds),
            progress=lambda step, detail: walk.passed(messages.resolved(call.peer.host, detail) if step == "dns" else detail),
        )
    except DimseError as error:
        walk.failed(_sentence(error, call))
        return
    acceptance = association.acceptance
    walk.passed(messages.associated(acceptance.implementation_version_name, acceptance.maximum_length))
    try:
        status = await association.echo()
    except DimseError as error:
        walk.failed(_sentence(error, call))
    else:
        (walk.failed if status.code else walk.passed)(messages.echoed(status.code, status.comment))
    finally:
        await association.release()


def _sentence(error: DimseError, call: Call) -> str:
    """Say what is wrong and who can mend it."""
    match error:
        case NotDicom():
            return messages.NO_DICOM_NODE
        case AssociationRejected():
            return _rejection(error, call)
        case AssociationLost():
            return messages.CLOSED_WITHOUT_A_WORD
        case PeerSilent():
            return messages.says_nothing(call.timeout)
        case ContextNotAccepted():
            return messages.NO_VERIFICATION
        case _:
            return str(error)


def _rejection(error: AssociationRejected, call: Call) -> str:
    match error.result, error.source, error.reason:
        case _, 1, 7:
            return messages.other_title(call.peer.ae_title)
        case _, 1, 3:
            return messages.unknown_caller(call.calling_ae_title)
        case 2, _, _:
            return messages.busy(f"{error.result}/{error.source}/{error.reason}")
        case _:
            return str(error)


def _document(call: Call, taken: list[Step], obstacle: Step | None) -> dict[str, Any]:
    return {
        "version": VERSION,
        "adapterVersion": __version__,
        "peer": str(call.peer),
        "callingAETitle": call.calling_ae_title,
        "answers": obstacle is None,
        "message": obstacle.message if obstacle else messages.echoed(0, ""),
        "steps": [steps.entry(step) for step in taken],
    }
