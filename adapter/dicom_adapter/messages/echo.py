"""`dicom-adapter echo`."""

from __future__ import annotations

from dicom_adapter.messages.counting import counted

NOT_REACHED = "not reached"
NO_DICOM_NODE = "something listens there, and it is no DICOM node: correct the port"
CLOSED_WITHOUT_A_WORD = "it closes the connection without a word: it is no DICOM node, or takes no calls from this address"
NO_VERIFICATION = "it accepts the association and not Verification: the node is there, it just does no C-ECHO"
PEER_FORM = "write AE@host:port, such as ARCHIVE@pacs.example:11112"


def resolved(host: str, addresses: str) -> str:
    """The DNS has answered."""
    return addresses if addresses == host else f"{host} is {addresses}"


def associated(version: str, maximum_length: int) -> str:
    """The node has accepted the association."""
    size = f"PDUs of up to {counted(maximum_length, 'byte')}" if maximum_length else "PDUs of any length"
    return f"accepted by {version or 'a node that gives no version name'}; {size}"


def echoed(status: int, comment: str) -> str:
    """The node has answered the C-ECHO."""
    return f"status {status:04X} {comment}".rstrip()


def says_nothing(seconds: float) -> str:
    """A connection, and then nothing."""
    return f"it takes the connection and says nothing for {seconds:g} s: it hangs, waits for TLS, or is no DICOM node"


def other_title(title: str) -> str:
    """Rejected 1/1/7."""
    return f"a DICOM node is there, and its AE title is not '{title}' (1/1/7): correct what stands before the @"


def unknown_caller(title: str) -> str:
    """Rejected 1/1/3."""
    return f"it takes no calls from '{title}' (1/1/3): have this AE title and address registered there, or name another with --calling"


def busy(triple: str) -> str:
    """Rejected for the moment."""
    return f"it is there and takes no association now ({triple}): try again later"
