"""What people read of an exporter: every sentence of its log, of /status and so of the conditions made of it.

One catalogue, tested verbatim. No patient data and no peer's bytes. Sentences of /status hold no number that moves by itself.
"""

from __future__ import annotations

from dicom_adapter.messages.counting import counted

# -- the command line: Google's own two sentences, which its users' scripts may look for --------------

BOTH_PEERS = "Both C-STORE and STOW-RS flags should not be specified."
NO_PEER = "Neither C-STORE nor STOW-RS flags have been specified."

# -- sweeps ------------------------------------------------------------------------------------------


def no_ledger(path: str) -> str:
    """The file that --ledger names."""
    return f"--ledger: '{path}' cannot be opened as a ledger; name a file in a directory that can be written to"


def not_swept(text: str) -> str:
    """The store could not be searched."""
    return f"what notifications were lost of could not be looked for: {text}"


# -- Pub/Sub -----------------------------------------------------------------------------------------


def pubsub_silent(endpoint: str) -> str:
    """A call that is never answered."""
    return f"Pub/Sub at {endpoint} gives no answer: is a firewall or NetworkPolicy in the way?"


def pubsub_unreachable(comment: str) -> str:
    """No connection."""
    return f"Pub/Sub cannot be reached: {comment}"


def pubsub_forbidden(status: int, subscription: str) -> str:
    """401 and 403."""
    return f"Pub/Sub answers {status} about {subscription}: grant the adapter's account roles/pubsub.subscriber on it"


def pubsub_not_found(subscription: str) -> str:
    """404."""
    return f"Pub/Sub knows no {subscription}: create it or correct spec.source.pubsub.subscription"


def pubsub_throttled() -> str:
    """429."""
    return "Pub/Sub asks to slow down (429): raise its quota"


def pubsub_answers(status: int) -> str:
    """Anything else."""
    return f"Pub/Sub answers {status}"


SETTINGS_UNKNOWN = "the subscription's settings cannot be read (roles/pubsub.viewer): 10 s and no dead-letter policy are assumed"


# -- the source --------------------------------------------------------------------------------------


def credentials_unusable(what: str, name: str) -> str:
    """A Secret or ConfigMap that is not as it should be."""
    return f"{what} '{name}' is not usable; correct it, no restart is needed"


def source_unreachable(comment: str) -> str:
    """No answer from the store."""
    return f"the source cannot be reached: {comment}"


def source_answers(status: int, phrase: str) -> str:
    """An error answer of the store."""
    remedy = {401: ": check spec.source.credentials", 403: ": grant the adapter's account roles/healthcare.dicomViewer on the dataset"}
    return f"the source answers {status} {phrase}{remedy.get(status, '')}"


def source_broken(what: str) -> str:
    """An answer that is none."""
    return f"the source gives {what}"


def no_part10() -> str:
    """What came is no DICOM."""
    return "what the source gives is no Part 10 stream"


def other_instance() -> str:
    """What came is not what was asked for."""
    return "what the source gives is another instance"


def unreadable(position: int, why: str) -> str:
    """spec.filter asks for attributes of what is no data set."""
    return f"its data set is unreadable at byte {position}: {why}"


def nothing_found() -> str:
    """A study or series without instances."""
    return "the source knows no instance of it"


# -- the destination ---------------------------------------------------------------------------------


def destination_unreachable(comment: str) -> str:
    """No answer from the DICOMweb store."""
    return f"the destination cannot be reached: {comment}"


def destination_answers(status: int, phrase: str) -> str:
    """An error answer to the probe."""
    remedy = ": check spec.destination.dicomweb.credentials" if status in (401, 403) else ""
    return f"the destination answers {status} {phrase}{remedy}"


def destination_says(text: str) -> str:
    """A verdict of the DICOMweb store."""
    return f"the destination answers {text}"


def peer_unreachable(address: str, why: str) -> str:
    """There is no association."""
    return f"{address}: {why}"


def peer_rejects(called: str, calling: str, source: int, reason: int, why: str) -> str:
    """A-ASSOCIATE-RJ."""
    remedy = {
        (1, 3): f"; have '{calling}' and this address registered there, or name another in spec.callingAETitle",
        (1, 7): "; correct spec.destination.peer.aeTitle",
    }.get((source, reason), "")
    return f"'{called}': {why}{remedy}"


def peer_answers(title: str, service: str, status: int) -> str:
    """A status that is not success."""
    return f"'{title}' answers a {service} with {status:04X}"


def class_refused(title: str, name: str) -> str:
    """No presentation context for the SOP class."""
    return f"'{title}' takes no {name}"


def not_transcoded(title: str, name: str, syntax: str) -> str:
    """spec.transcode: Never."""
    return f"'{title}' takes {name} uncompressed only, not in {syntax}; write spec.transcode: WhenRefused to have it sent so"


def cannot_transcode(title: str, syntax: str, why: str) -> str:
    """It cannot be decompressed."""
    return f"'{title}' does not take {syntax}, and it cannot be sent uncompressed: {why}"


# -- the flow ----------------------------------------------------------------------------------------


def exporting(source: str, destination: str) -> str:
    """Start."""
    return f"exports what arrives in {source} to {destination}"


def circuit_opened(side: str, text: str) -> str:
    """No more is pulled."""
    return f"the {side} is down, nothing more is pulled until it is back: {text}"


def circuit_closed(side: str, seconds: float) -> str:
    """It goes on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"the {side} works again after {f'{minutes} min ' if minutes else ''}{rest} s"


def set_aside(resource: str, text: str, attempt: int, most: int, seconds: int) -> str:
    """One image that does not get through."""
    return f"{resource}: {text}; attempt {attempt} of {most}, the next in {seconds} s"


def left_to_the_policy(resource: str, text: str, attempt: int) -> str:
    """The same where Pub/Sub counts."""
    return f"{resource}: {text}; attempt {attempt}, Pub/Sub's dead-letter policy decides"


def dead_letter(resource: str, text: str, topic: str) -> str:
    """It goes to our own topic."""
    return f"{resource}: {text}; published to {topic} and acknowledged"


def retained(resource: str, text: str) -> str:
    """There is no place to put it."""
    return f"{resource}: {text}; kept, tried again every 10 minutes: a topic in spec.delivery.deadLetter.topic would set it aside"


def not_published(resource: str, topic: str) -> str:
    """The topic for dead letters does not take it."""
    return f"{resource}: cannot be published to {topic}; kept, tried again every 10 minutes"


def mistake(kind: str) -> str:
    """An exception that nobody expected."""
    return f"a message could not be handled ({kind}): it is tried again; please report it"


def gone(resource: str) -> str:
    """404 to the end."""
    return f"{resource}: the source answers 404 for a minute and a half: deleted meanwhile, acknowledged"


POISON = (
    "some images do not get through and are tried again every 10 minutes: the log names them; a topic in spec.delivery.deadLetter.topic "
    "or a dead-letter policy of the subscription sets them aside"
)
RETENTION = "the oldest message that waits will be lost by the subscription's messageRetentionDuration within a day"


def drained(rest: int) -> str:
    """The end."""
    return f"drained: {counted(rest, 'message')} given back to Pub/Sub" if rest else "drained: nothing was left in hand"
