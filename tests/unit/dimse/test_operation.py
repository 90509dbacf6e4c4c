"""Which requests are answered before a handler sees them, and with what."""

import pytest

from dicom_adapter.dimse.commands import Command
from dicom_adapter.dimse.operation import immediate_status
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_MOVE, VERIFICATION, Service
from dicom_adapter.dimse.status import Status
from tests.support.rawscu import CT_STORAGE

ALL: frozenset[Service] = frozenset({"echo", "store", "find", "get", "move", "n_action", "n_event_report"})
FIND = Command(0x20, 1, True, STUDY_ROOT_FIND)
ACTION = Command(0x0130, 1, True, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", type_id=1)
STORE = Command(0x01, 1, True, CT_STORAGE, "1.2.3")


@pytest.mark.parametrize(
    ("command", "abstract_syntax"),
    [
        (FIND, STUDY_ROOT_FIND),
        (ACTION, STORAGE_COMMITMENT),
        (Command(0x0100, 1, False, STORAGE_COMMITMENT, "1.2.3", type_id=2), STORAGE_COMMITMENT),
        (STORE, CT_STORAGE),
    ],
)
def test_what_a_handler_is_for(command: Command, abstract_syntax: str) -> None:
    assert immediate_status(command, abstract_syntax, ALL, shutting_down=False) is None


@pytest.mark.parametrize(
    ("command", "abstract_syntax", "status"),
    [
        (Command(0x30, 1, False, VERIFICATION), VERIFICATION, Status(0)),
        (Command(0x30, 1, False, VERIFICATION), CT_STORAGE, Status(0x0122, "C-ECHO needs a presentation context of Verification")),
        (Command(0x0140, 1, True, "1.2"), CT_STORAGE, Status(0x0211, "This operation is not supported")),
        (Command(0x4711, 1, True, "1.2"), CT_STORAGE, Status(0x0211, "This operation is not supported")),
        (FIND, STUDY_ROOT_MOVE, Status(0x0122, "SOP class differs from that of its presentation context")),
        (
            Command(0x20, 1, True, STUDY_ROOT_MOVE),
            STUDY_ROOT_MOVE,
            Status(0x0122, "C-FIND is no operation of this SOP class"),
        ),
        (Command(0x20, 1, False, STUDY_ROOT_FIND), STUDY_ROOT_FIND, Status(0xA900, "Identifier missing")),
        (
            Command(0x0130, 1, True, STORAGE_COMMITMENT, "1.2.3"),
            STORAGE_COMMITMENT,
            Status(0x0110, "Mandatory tag empty: type ID or SOP Instance UID"),
        ),
        (
            Command(0x01, 1, True, STUDY_ROOT_FIND, "1.2"),
            STUDY_ROOT_FIND,
            Status(0x0122, "Study Root Query/Retrieve - FIND takes no C-STORE"),
        ),
    ],
)
def test_what_needs_none(command: Command, abstract_syntax: str, status: Status) -> None:
    assert immediate_status(command, abstract_syntax, ALL, shutting_down=False) == status


def test_a_service_without_a_handler_is_not_supported() -> None:
    assert immediate_status(ACTION, STORAGE_COMMITMENT, {"echo", "n_event_report"}, shutting_down=False) == Status(
        0x0211, "This operation is not supported"
    )


@pytest.mark.parametrize(("command", "code"), [(STORE, 0xA700), (FIND, 0xA700), (ACTION, 0x0213)])
def test_a_server_that_shuts_down_refuses_each_in_its_own_words(command: Command, code: int) -> None:
    assert immediate_status(command, command.sop_class_uid, ALL, shutting_down=True) == Status(code, "Shutting down, send again")
