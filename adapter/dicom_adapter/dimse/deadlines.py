"""How long a peer may be silent, by what it is in the middle of. Pure: the clock is a parameter."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from dicom_adapter.dimse.limits import Limits

DRAINED_IDLE_SECONDS: Final = 2.0
"""While the server drains: silence between two messages after which an association is taken to have nothing more to send."""


class Due(StrEnum):
    """What a deadline is about."""

    ARTIM = "ARTIM"
    UNREAD = "answers unread"
    STALLED = "silent inside a message"
    UNANSWERED = "no response"
    HANDSHAKE = "no answer to A-ASSOCIATE-RQ or A-RELEASE-RQ"
    IDLE = "idle"
    DRAINED = "idle while draining"


class Deadline(NamedTuple):
    """When the peer must have been heard again, on the loop's clock."""

    at: float
    due: Due


@dataclass(slots=True)
class Silence:
    """The times that deadlines are counted from."""

    limits: Limits
    last_heard: float
    artim_since: float | None = None
    unread_since: float | None = None
    answer_by: float | None = None
    draining_since: float | None = None

    def earliest(self) -> float:
        """Return a time before which no deadline can fall that begins now."""
        if self.draining_since is not None:
            return self.last_heard
        limits = self.limits
        return self.last_heard + min(limits.association_timeout, limits.dimse_timeout, limits.response_timeout, limits.idle_timeout)

    def next_deadline(self, *, established: bool, inside_message: bool, held_back: bool, awaiting: bool, working: bool) -> Deadline | None:
        """Return the deadline that counts now, if one does.

        Args:
            established: whether there is an association (Sta6).
            inside_message: whether the peer has begun something and not ended it.
            held_back: whether we are the ones who do not read.
            awaiting: whether the peer has a request of ours that it has not answered.
            working: whether an operation is in work, so that it is not for the peer to say something.
        """
        if self.artim_since is not None:
            return Deadline(self.artim_since + self.limits.association_timeout, Due.ARTIM)
        if self.unread_since is not None:
            return Deadline(self.unread_since + self.limits.dimse_timeout, Due.UNREAD)
        if self.answer_by is not None:
            return Deadline(self.answer_by, Due.HANDSHAKE)
        if not established or held_back:
            return None
        if inside_message:
            return Deadline(self.last_heard + self.limits.dimse_timeout, Due.STALLED)
        if awaiting:
            return Deadline(self.last_heard + self.limits.response_timeout, Due.UNANSWERED)
        if working:
            return None
        idle = Deadline(self.last_heard + self.limits.idle_timeout, Due.IDLE)
        if self.draining_since is None:
            return idle
        return min(idle, Deadline(max(self.last_heard, self.draining_since) + DRAINED_IDLE_SECONDS, Due.DRAINED))
