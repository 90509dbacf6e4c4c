"""From message fragments to DIMSE messages (PS3.7 6.3, PS3.8 E): a command set, then perhaps a data set, on one presentation context."""

from dataclasses import dataclass

from dicom_adapter.dimse.commands import Command, decode_command
from dicom_adapter.dimse.pdu import Fragment, ProtocolViolation


@dataclass(frozen=True, slots=True)
class MessageBegun:
    """The command set is complete; a data set follows if it says so."""

    context_id: int
    command: Command


@dataclass(frozen=True, slots=True)
class DataSetEnded:
    """The last fragment of the data set came: `take_data` returns the end of it."""


class MessageAssembler:
    """Puts the fragments of one association together. The command set is collected up to a bound, the data set passes through."""

    __slots__ = ("_command", "_command_context", "_data_context", "_max_command_bytes", "_views")

    def __init__(self, max_command_bytes: int) -> None:
        self._max_command_bytes = max_command_bytes
        self._command = bytearray()
        self._command_context: int | None = None
        self._data_context: int | None = None
        self._views: list[memoryview] = []

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._data_context is not None or self._command_context is not None

    def feed(self, fragment: Fragment) -> MessageBegun | DataSetEnded | None:
        """Take a fragment and say what it completes.

        Raises:
            ProtocolViolation: the order or the contexts of PS3.8 E.1 are broken, or the command set is too long or malformed.
        """
        return self._feed_command(fragment) if fragment.is_command else self._feed_data(fragment)

    def take_data(self) -> bytes:
        """Return the data set bytes fed since the last call, copied off the receive buffer once."""
        views, self._views = self._views, []
        return b"".join(views)

    def _feed_data(self, fragment: Fragment) -> DataSetEnded | None:
        if self._data_context is None:
            raise ProtocolViolation("a data set without a command set")
        if fragment.context_id != self._data_context:
            raise ProtocolViolation("a data set on another presentation context than its command set")
        self._views.append(fragment.data)
        if not fragment.last:
            return None
        self._data_context = None
        return DataSetEnded()

    def _feed_command(self, fragment: Fragment) -> MessageBegun | None:
        if self._data_context is not None:
            raise ProtocolViolation("a command set inside a data set")
        if self._command_context is None:
            self._command_context = fragment.context_id
        elif self._command_context != fragment.context_id:
            raise ProtocolViolation("a command set on two presentation contexts")
        if len(self._command) + len(fragment.data) > self._max_command_bytes:
            raise ProtocolViolation(f"a command set of more than {self._max_command_bytes} bytes")
        self._command += fragment.data
        if not fragment.last:
            return None
        command = decode_command(bytes(self._command))
        self._command.clear()
        self._command_context = None
        if command.has_data_set:
            self._data_context = fragment.context_id
        return MessageBegun(fragment.context_id, command)
