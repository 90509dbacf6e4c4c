"""Table 9-10 of PS3.8 as it stands there: 13 states, 19 events, and in each cell the action and the state after it."""

from enum import StrEnum
from typing import Final, NamedTuple

from dicom_adapter.dimse.pdu import PduType


class State(StrEnum):
    """PS3.8 tables 9-1 to 9-5."""

    STA1 = "Sta1: idle"
    STA2 = "Sta2: connection open, awaiting A-ASSOCIATE-RQ"
    STA3 = "Sta3: awaiting local A-ASSOCIATE response"
    STA4 = "Sta4: awaiting transport connection opening"
    STA5 = "Sta5: awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ"
    STA6 = "Sta6: association established, ready for data transfer"
    STA7 = "Sta7: awaiting A-RELEASE-RP"
    STA8 = "Sta8: awaiting local A-RELEASE response"
    STA9 = "Sta9: release collision, requestor: awaiting local A-RELEASE response"
    STA10 = "Sta10: release collision, acceptor: awaiting A-RELEASE-RP"
    STA11 = "Sta11: release collision, requestor: awaiting A-RELEASE-RP"
    STA12 = "Sta12: release collision, acceptor: awaiting local A-RELEASE response"
    STA13 = "Sta13: awaiting transport connection close"


class Event(StrEnum):
    """The rows of PS3.8 table 9-10."""

    EVT1 = "Evt1: A-ASSOCIATE request primitive"
    EVT2 = "Evt2: transport connection confirmation"
    EVT3 = "Evt3: A-ASSOCIATE-AC PDU received"
    EVT4 = "Evt4: A-ASSOCIATE-RJ PDU received"
    EVT5 = "Evt5: transport connection indication"
    EVT6 = "Evt6: A-ASSOCIATE-RQ PDU received"
    EVT7 = "Evt7: A-ASSOCIATE response primitive (accept)"
    EVT8 = "Evt8: A-ASSOCIATE response primitive (reject)"
    EVT9 = "Evt9: P-DATA request primitive"
    EVT10 = "Evt10: P-DATA-TF PDU received"
    EVT11 = "Evt11: A-RELEASE request primitive"
    EVT12 = "Evt12: A-RELEASE-RQ PDU received"
    EVT13 = "Evt13: A-RELEASE-RP PDU received"
    EVT14 = "Evt14: A-RELEASE response primitive"
    EVT15 = "Evt15: A-ABORT request primitive"
    EVT16 = "Evt16: A-ABORT PDU received"
    EVT17 = "Evt17: transport connection closed"
    EVT18 = "Evt18: ARTIM timer expired"
    EVT19 = "Evt19: unrecognized or invalid PDU received"


class Action(StrEnum):
    """PS3.8 tables 9-6 to 9-9."""

    AE1 = "AE-1: issue transport connect request"
    AE2 = "AE-2: send A-ASSOCIATE-RQ"
    AE3 = "AE-3: issue A-ASSOCIATE confirmation (accept)"
    AE4 = "AE-4: issue A-ASSOCIATE confirmation (reject), close transport connection"
    AE5 = "AE-5: issue transport response, start ARTIM"
    AE6 = "AE-6: stop ARTIM, issue A-ASSOCIATE indication"
    AE7 = "AE-7: send A-ASSOCIATE-AC"
    AE8 = "AE-8: send A-ASSOCIATE-RJ, start ARTIM"
    DT1 = "DT-1: send P-DATA-TF"
    DT2 = "DT-2: issue P-DATA indication"
    AR1 = "AR-1: send A-RELEASE-RQ"
    AR2 = "AR-2: issue A-RELEASE indication"
    AR3 = "AR-3: issue A-RELEASE confirmation, close transport connection"
    AR4 = "AR-4: send A-RELEASE-RP, start ARTIM"
    AR5 = "AR-5: stop ARTIM"
    AR6 = "AR-6: issue P-DATA indication"
    AR7 = "AR-7: send P-DATA-TF"
    AR8 = "AR-8: issue A-RELEASE indication (release collision)"
    AR9 = "AR-9: send A-RELEASE-RP"
    AR10 = "AR-10: issue A-RELEASE confirmation"
    AA1 = "AA-1: send A-ABORT (service user), start ARTIM"
    AA2 = "AA-2: stop ARTIM, close transport connection"
    AA3 = "AA-3: issue A-ABORT or A-P-ABORT indication, close transport connection"
    AA4 = "AA-4: issue A-P-ABORT indication"
    AA5 = "AA-5: stop ARTIM"
    AA6 = "AA-6: ignore PDU"
    AA7 = "AA-7: send A-ABORT"
    AA8 = "AA-8: send A-ABORT (service provider), issue A-P-ABORT indication, start ARTIM"


class Cell(NamedTuple):
    """What to do, and the state after it. Two cells of the table have two: AE-6 (`otherwise` when the request is rejected) and AR-8
    (`otherwise` on the side of the acceptor).
    """

    action: Action
    state: State
    otherwise: State | None = None


# action>next state; 9|10: which of the two is said at Cell; a dot: this cannot happen.
_TABLE: Final = """
       Sta1   Sta2      Sta3    Sta4   Sta5    Sta6    Sta7        Sta8    Sta9    Sta10    Sta11   Sta12   Sta13
Evt1   AE-1>4 .         .       .      .       .       .           .       .       .        .       .       .
Evt2   .      .         .       AE-2>5 .       .       .           .       .       .        .       .       .
Evt3   .      AA-1>13   AA-8>13 .      AE-3>6  AA-8>13 AA-8>13     AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
Evt4   .      AA-1>13   AA-8>13 .      AE-4>1  AA-8>13 AA-8>13     AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
Evt5   AE-5>2 .         .       .      .       .       .           .       .       .        .       .       .
Evt6   .      AE-6>3|13 AA-8>13 .      AA-8>13 AA-8>13 AA-8>13     AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-7>13
Evt7   .      .         AE-7>6  .      .       .       .           .       .       .        .       .       .
Evt8   .      .         AE-8>13 .      .       .       .           .       .       .        .       .       .
Evt9   .      .         .       .      .       DT-1>6  .           AR-7>8  .       .        .       .       .
Evt10  .      AA-1>13   AA-8>13 .      AA-8>13 DT-2>6  AR-6>7      AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
Evt11  .      .         .       .      .       AR-1>7  .           .       .       .        .       .       .
Evt12  .      AA-1>13   AA-8>13 .      AA-8>13 AR-2>8  AR-8>9|10   AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-6>13
Evt13  .      AA-1>13   AA-8>13 .      AA-8>13 AA-8>13 AR-3>1      AA-8>13 AA-8>13 AR-10>12 AR-3>1  AA-8>13 AA-6>13
Evt14  .      .         .       .      .       .       .           AR-4>13 AR-9>11 .        .       AR-4>13 .
Evt15  .      .         AA-1>13 AA-2>1 AA-1>13 AA-1>13 AA-1>13     AA-1>13 AA-1>13 AA-1>13  AA-1>13 AA-1>13 .
Evt16  .      AA-2>1    AA-3>1  .      AA-3>1  AA-3>1  AA-3>1      AA-3>1  AA-3>1  AA-3>1   AA-3>1  AA-3>1  AA-2>1
Evt17  .      AA-5>1    AA-4>1  AA-4>1 AA-4>1  AA-4>1  AA-4>1      AA-4>1  AA-4>1  AA-4>1   AA-4>1  AA-4>1  AR-5>1
Evt18  .      AA-2>1    .       .      .       .       .           .       .       .        .       .       AA-2>1
Evt19  .      AA-1>13   AA-8>13 .      AA-8>13 AA-8>13 AA-8>13     AA-8>13 AA-8>13 AA-8>13  AA-8>13 AA-8>13 AA-7>13
"""


def _read(table: str) -> dict[tuple[State, Event], Cell]:
    columns, *rows = (line.split() for line in table.split("\n") if line)
    states = [State[name.upper()] for name in columns]
    cells: dict[tuple[State, Event], Cell] = {}
    for name, *row in rows:
        for state, text in zip(states, row, strict=True):
            if text != ".":
                action, _, after = text.partition(">")
                cells[state, Event[name.upper()]] = Cell(Action[action.replace("-", "")], *(State[f"STA{n}"] for n in after.split("|")))
    return cells


TRANSITIONS: Final = _read(_TABLE)

PDU_EVENTS: Final = {
    PduType.A_ASSOCIATE_RQ: Event.EVT6,
    PduType.A_ASSOCIATE_AC: Event.EVT3,
    PduType.A_ASSOCIATE_RJ: Event.EVT4,
    PduType.P_DATA_TF: Event.EVT10,
    PduType.A_RELEASE_RQ: Event.EVT12,
    PduType.A_RELEASE_RP: Event.EVT13,
    PduType.A_ABORT: Event.EVT16,
}
