"""SOP classes as the engine needs them (PS3.4, PS3.6 A): which service each belongs to, for whichever side, and what people call it."""

import re
from collections.abc import Set
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts

VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET: Final = "1.2.840.10008.5.1.4.1.2.3.3"

Service = Literal["echo", "store", "find", "get", "move", "n_action", "n_event_report"]
"""What a handler is for; `echo` has none and is always there."""


@dataclass(frozen=True, slots=True)
class ServiceClass:
    """What an acceptor performs for a requestor that is the SCU of a SOP class, and for one that is its SCP.

    Attributes:
        for_scu: the service that a requestor may invoke.
        for_scp: the service that makes an acceptor want a requestor to be the SCP: C-GET sends it images, a commitment is reported to us.
        transfer_syntaxes: those that can be read here; None where the bytes only pass through.
    """

    for_scu: Service
    for_scp: Service | None = None
    transfer_syntaxes: frozenset[str] | None = None


_READABLE: Final = frozenset(
    str(uid) for uid in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
)
STORAGE: Final = ServiceClass("store", "get")
_SERVICE_CLASSES: Final[dict[str, ServiceClass]] = {
    VERIFICATION: ServiceClass("echo"),
    STORAGE_COMMITMENT: ServiceClass("n_action", "n_event_report", _READABLE),
    **dict.fromkeys((PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND), ServiceClass("find", None, _READABLE)),
    **dict.fromkeys((PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE), ServiceClass("move", None, _READABLE)),
    **dict.fromkeys((PATIENT_ROOT_GET, STUDY_ROOT_GET, PATIENT_STUDY_ONLY_GET), ServiceClass("get", None, _READABLE)),
}

_VALID_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_PATIENT_OR_OBJECT_STORAGE: Final = "1.2.840.10008.5.1.4."


@lru_cache(1024)  # asked with each C-STORE
def service_class(uid: str) -> ServiceClass | None:
    """Return the service class of an abstract syntax; every storage SOP class is one, be it of the standard, private or newer than us."""
    found = _SERVICE_CLASSES.get(uid)
    if found is None and is_uid(uid) and (uid in _storage_classes() or not UID(uid).type or _is_retired_storage(uid)):
        return STORAGE
    return found


def serves(uid: str, services: Set[Service]) -> bool:
    """Whether an acceptor with these services has any for an abstract syntax."""
    found = service_class(uid)
    return found is not None and (found.for_scu in services or found.for_scp in services)


def is_uid(text: str) -> bool:
    """Whether `text` obeys the rules of PS3.5 9.1."""
    return len(text) <= 64 and _VALID_UID.fullmatch(text) is not None


def abstract_syntax_name(uid: str) -> str:
    """Return the name of an abstract syntax as people say it, or the UID itself."""
    name = str(UID(uid).name) if is_uid(uid) else uid
    return name.replace(" Information Model", "").removesuffix(" SOP Class")


@cache
def _storage_classes() -> frozenset[str]:
    return frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def _is_retired_storage(uid: str) -> bool:
    # pynetdicom lists what is current; old archives still send what has been retired since.
    return uid.startswith(_PATIENT_OR_OBJECT_STORAGE) and "Storage" in UID(uid).name
