"""The outcome of a DIMSE operation: status code and Error Comment (PS3.7 C)."""

from dataclasses import dataclass
from typing import Final

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
INVALID_SOP_INSTANCE: Final = 0x0117
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213
OUT_OF_RESOURCES: Final = 0xA700
IDENTIFIER_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
CANCELLED: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITHOUT_SOME_KEYS: Final = 0xFF01

_COMMENT_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Status:
    """Status (0000,0900) of a response and the text beside it, Error Comment (0000,0902) (PS3.7 C and E.2).

    The comment may be any text: `encoded_comment` makes it legal for the wire.
    """

    code: int
    comment: str = ""

    def __post_init__(self) -> None:
        """Refuse a code that does not fit the US element it travels in."""
        if not 0 <= self.code <= 0xFFFF:
            raise ValueError(f"a DIMSE status is between 0 and 65535, not {self.code}")


def error_comment(text: str) -> bytes:
    """Return `text` as one legal value of VR LO in the default repertoire (PS3.5 6.2): at most 64 characters, one line, no backslash.

    A text that is too long is cut at a word where there is one in its last third.
    """
    # split() also folds every kind of line end and tab; a control character that is left becomes `?` like any other stranger.
    line = " ".join(text.split())
    legal = "".join(character if " " <= character <= "~" and character != "\\" else "?" for character in line)
    if len(legal) > _COMMENT_LENGTH:
        cut = legal.rfind(" ", _COMMENT_LENGTH * 2 // 3, _COMMENT_LENGTH + 1)
        legal = legal[: cut if cut > 0 else _COMMENT_LENGTH]
    return legal.encode("ascii")
