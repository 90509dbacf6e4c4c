"""What people read: every sentence of the adapter's logs, of /status and so of the conditions that the operator makes of it.

One catalogue, tested verbatim. No patient data and no peer's bytes: AE titles, addresses and UIDs only. Sentences of /status hold no number
that moves by itself, or every probe would rewrite the resource's status.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dicom_adapter.config import ConfigError

# -- associations ----------------------------------------------------------------------------------


def refused(ae_title: str, result: int, source: int, reason: int, why: str, address: str = "") -> str:
    """An A-ASSOCIATE-RJ that we sent; `address` where it was the address that did not suit us."""
    return f"refused '{ae_title}'{f' from {address}' if address else ''}, {result}/{source}/{reason}: {why}"


UNKNOWN_PEER = "not in spec.peers and spec.unknownPeers is Reject"


def wrong_address(ae_title: str, networks: list[str]) -> str:
    """A known AE title from an address that is not its."""
    return f"spec.peers '{ae_title}' allows {', '.join(networks)}"


def context_refused(ae_title: str, name: str, *, off: str = "") -> str:
    """A presentation context for a service that is not ours, or that is switched `off`."""
    return f"'{ae_title}' proposed {name}: {f'{off} is not in spec.services' if off else 'this adapter has no such service'}"


def context_withheld(ae_title: str, service: str) -> str:
    """A presentation context for a service that this peer may not have."""
    return f"'{ae_title}' proposed {service}: spec.peers '{ae_title}' does not allow it"


def no_dicom(address: str) -> str:
    """A port scan, an HTTP request, a load balancer's probe."""
    return f"{address} sent no DICOM; closed"


def aborted(ae_title: str, why: str) -> str:
    """An A-ABORT that we sent."""
    return f"aborted '{ae_title}': {why}"


def association_ended(
    ae_title: str, address: str, outcome: str, operations: Mapping[tuple[str, int], int], size: int, seconds: float
) -> str:
    """The one line per association."""
    counts = ", ".join(f"{service} {status:04X} x {count}" for (service, status), count in sorted(operations.items())) or "no operations"
    return f"'{ae_title}' from {address} {outcome}: {counts}; {size} bytes in {seconds:.1f} s"


# -- operations ------------------------------------------------------------------------------------

MISSING_DATA_SET = "Mandatory data set missing"


def failed(service: str, ae_title: str, status: int, text: str, *, unknown: bool = False) -> str:
    """A failed operation; `unknown` when the store may have the image all the same."""
    return f"{service} from '{ae_title}' failed: {status:04X} {text}".rstrip() + ("; outcome unknown" if unknown else "")


def refused_for_good(service: str, ae_title: str, text: str) -> str:
    """The store has judged this very instance: sending it again will not help."""
    return f"{service} from '{ae_title}' refused for good: {text}"


def stored_with_warning(ae_title: str, status: int) -> str:
    """The store has coerced something."""
    return f"C-STORE from '{ae_title}': stored with warning {status:04X}"


def stored_with_remark(ae_title: str, remark: str) -> str:
    """Stored, but the answer was odd."""
    return f"C-STORE from '{ae_title}': {remark}"


def coerced(status: int) -> str:
    """Error Comment of a warning status."""
    return f"Stored; the store coerced elements ({status:04X})"


def unreadable_answer(http_status: int) -> str:
    """A success whose body says nothing."""
    return f"{http_status} with a body that cannot be read: taken as stored"


def unnamed_answer(http_status: int) -> str:
    """A success whose body is readable and does not name the instance."""
    return f"{http_status} with a body that does not name the instance: taken as stored"


OTHER_CONTENT = "instance exists with other content"
REDIRECTED = "the store redirects; correct dicomStore"
NO_ROOM = "No room for a copy of the image (TMPDIR); send it again later"


def duplicate(http_status: int) -> str:
    """A proven duplicate, as the log has it."""
    return f"{http_status} ALREADY_EXISTS; spec.delivery.onConflict is Fail"


KEPT = "the store has another image with this UID and keeps it (spec.delivery.onConflict is Keep); counted as stored"
OVERWRITTEN = "the image that the store had with this UID was overwritten (spec.delivery.onConflict is Overwrite)"
PUT_BACK = "the store did not take the image that was to overwrite another: the other one is in the store as before"
NOT_PUT_BACK = (
    "the store did not take the image that was to overwrite another, nor the other one back: it has neither; send the image again, "
    "and the other one from its source"
)


def not_overwritten(why: str) -> str:
    """Overwrite was asked for and did not happen: the stored instance stays."""
    return f"409 ALREADY_EXISTS; the stored image was not overwritten: {why}"


def throttled(rate: float) -> str:
    """A 429 has halved the rate."""
    return f"the store throttles (429): sending at most {rate:.0f} a second"


def took_longer(seconds: float) -> str:
    """No answer within spec.delivery.timeoutSeconds."""
    return f"Store took longer than {seconds:g} s"


# -- searching and retrieving ----------------------------------------------------------------------

NO_LEVEL = "No QueryRetrieveLevel specified"
INVALID_LEVEL = "Invalid QueryRetrieveLevel specified"
UNREADABLE_IDENTIFIER = "Identifier unreadable"
BAD_META = "The store sends an instance without valid UIDs"
UNREACHABLE_PEER = {
    "refused": ("connection refused", "{where} refused the connection"),
    "silent": ("no answer", "{where} gives no answer: is the host down, or a firewall in the way?"),
    "dns": ("host name unknown", "'{host}' cannot be resolved: correct the host in spec.peers, or the cluster's DNS"),
    "network": ("not reachable", "{where} cannot be reached: is there a route?"),
}
"""What stands in the way to a peer: in an Error Comment, and in the log."""


def no_unique_key(keyword: str) -> str:
    """A retrieval without the key of its level."""
    return f"Unique key missing: {keyword}"


def not_one_value(keyword: str) -> str:
    """A retrieval with a pattern or list where one value has to be."""
    return f"{keyword} must be one value, without wildcards"


def no_uid(keyword: str) -> str:
    """A retrieval with something else than UIDs."""
    return f"{keyword} is no UID"


def too_many_instances(most: int) -> str:
    """A retrieval that cannot be counted."""
    return f"More than {most} images match: retrieve in parts"


def unknown_ae(ae_title: str) -> str:
    """Error Comment: nobody of this name is known."""
    return f"Unknown AET: {ae_title}"


def unknown_destination(service: str, calling: str, ae_title: str) -> str:
    """The same for the log."""
    return f"{service} from '{calling}' failed: '{ae_title}' is not in spec.peers; add it with host and port"


def moved(service: str, ae_title: str, sent: int, of: int, why: str) -> str:
    """A retrieval of which not all has arrived."""
    return f"{service} to '{ae_title}': {sent} of {of} sent: {why}"


def moved_with_warnings(service: str, ae_title: str, warnings: int, of: int) -> str:
    """All has arrived, some of it with a warning."""
    return f"{service} to '{ae_title}': {of} of {of} sent, {warnings} of them with a warning of the receiver"


def not_taken(ae_title: str, sop_class: str, syntax: str) -> str:
    """The receiver has not accepted it, nor an uncompressed transfer syntax."""
    return f"{ae_title} takes no {sop_class} in {syntax}"


def not_converted(ae_title: str, syntax: str, why: str) -> str:
    """The receiver takes it uncompressed only, and that it cannot become."""
    return f"{ae_title} takes no {syntax}: {why}"


def too_large(most: int) -> str:
    """An instance that will not be converted."""
    return f"more than {most >> 20} MiB, not converted"


def peer_rejects(ae_title: str, where: str, result: int, source: int, reason: int) -> str:
    """Error Comment: no association."""
    return f"{ae_title} at {where}: rejected {result}/{source}/{reason}"


def peer_lost(ae_title: str, where: str) -> str:
    """Error Comment: the association ended before the answer."""
    return f"{ae_title} at {where}: association lost"


def too_many_keys(maximum: int) -> str:
    """A query that would be a flood of searches."""
    return f"More than {maximum} keys in the identifier"


def too_many_values(maximum: int) -> str:
    """The same in one key."""
    return f"More than {maximum} values in one key"


def more_matches(maximum: int) -> str:
    """A search with more results than spec.query.maxResults."""
    return f"More than {maximum} matches, the first are sent; search narrower"


# -- the spool -------------------------------------------------------------------------------------


def spool_at_reserve(free: int, reserve: int) -> str:
    """Error Comment at `spool.reserveBytes`."""
    return f"Spool full: {_gib(free)} free, {_gib(reserve)} is kept in reserve"


def spool_over_maximum(used: int, most: int) -> str:
    """Error Comment at `spool.maxBytes`."""
    return f"Spool full: {_gib(used)} wait, {_gib(most)} is spool.maxBytes"


def spool_write_failed(why: str) -> str:
    """Error Comment at a disk's error."""
    return f"Spool write failed: {why}"


SPOOL_DELIVERING = "images go to their destinations as they come"
SPOOL_FULL = "the spool is full: senders get A700 and keep their images until the store takes the backlog; or enlarge spool.maxBytes"


def spool_faulty(pod: str, directory: str, code: str) -> str:
    """An fsync has failed: the end, until a restart."""
    who, where = (f"pod {pod}", f"claim 'spool-{pod}'") if pod else ("the adapter", f"the volume of {directory}")
    return f"{who} could not fsync its spool ({code}) and acknowledges nothing until it restarts: check {where}"


def spool_not_writable(pod: str, directory: str, why: str) -> str:
    """Writing fails for now."""
    who, where = (f"pod {pod}", f"claim 'spool-{pod}'") if pod else ("the adapter", f"the volume of {directory}")
    return f"{who} cannot write to its spool ({why}): senders get A700 and keep their images; check {where}"


def spool_backlogged(seconds: int, instances: int | None) -> str:
    """Condition Delivering=False Backlogged. The numbers are the configuration's."""
    more = f", or more than {instances} of them" if instances is not None else ""
    return (
        f"images wait for longer than {_duration(seconds)}{more} (spec.delivery.backlogThresholds): they are kept in the spool, "
        "senders are not affected"
    )


def spool_in_use(directory: str) -> str:
    """The lock is held."""
    return str(ConfigError("--spool_directory", f"another process works on '{directory}'; end it, or name another directory"))


def spool_unusable(directory: str, why: str) -> str:
    """It cannot be made or read at the start."""
    return str(ConfigError("--spool_directory", f"cannot use '{directory}' ({why}); mount a writable volume there or name another"))


def spool_without_links(directory: str, why: str) -> str:
    """Several destinations share one file."""
    why = f"the volume of '{directory}' has no hard links ({why}), which several destinations need"
    return str(ConfigError("--spool_directory", f"{why}; use another volume"))


def spool_adopted(instances: int, destination: str) -> str:
    """Found at the start."""
    return f"found {instances} images in the spool for '{destination}': they are delivered now"


def spool_orphaned(instances: int, destination: str) -> str:
    """Found at the start, for a destination that is not configured any more."""
    return (
        f"found {instances} images in the spool for '{destination}', which is not in spec.destinations any more: they stay; add it again, "
        f"or discard them with `dicom-adapter spool discard`"
    )


SPOOL_RECOVERED = "the spool takes images again, and they are delivered as they come"


def spool_trouble(why: str) -> str:
    """Reading or moving what is in it fails."""
    return f"the spool cannot be worked on ({why}): what is in it waits; check its volume"


def leftovers_adopted(instances: int) -> str:
    """Files of Google's adapter."""
    return f"found {instances} files that Google's adapter has left in the spool's directory: they are delivered now"


def left_in_spool(instances: int) -> str:
    """The end of a drain."""
    return f"{instances} images are undelivered: they stay in the spool, and the next start delivers them"


def delivery_refused(destination: str, text: str) -> str:
    """A spooled image will not be delivered as it is."""
    return f"delivery to '{destination}' refused for good: {text}"


def delivery_damaged(destination: str, text: str) -> str:
    """A spooled image's file is not what was acknowledged."""
    return f"an image in the spool for '{destination}' is damaged and was moved to failed: {text}"


def delivered_with_warning(destination: str, status: int) -> str:
    """The store has coerced something."""
    return f"delivery to '{destination}': stored with warning {status:04X}"


def delivered_with_remark(destination: str, remark: str) -> str:
    """Stored, but the answer was odd."""
    return f"delivery to '{destination}': {remark}"


def damaged_length(found: int, wanted: int) -> str:
    """Shorter or longer than it was."""
    return f"it has {found} bytes instead of {wanted}"


DAMAGED_CHECKSUM = "its checksum is not the one it had"
DAMAGED_HEAD = "it does not begin as a DICOM file does"


def _gib(size: int) -> str:
    """`0.4 GiB`, `1 GiB`, `20 MiB`."""
    if size < 1 << 20:
        return f"{size / (1 << 10):.3g} KiB"
    if size < 100 << 20:
        return f"{size / (1 << 20):.3g} MiB"
    return f"{size / (1 << 30):.1f}".removesuffix(".0") + " GiB"


def _duration(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


# -- routes ----------------------------------------------------------------------------------------


def no_such_destination(name: str, nearest: str) -> str:
    """A route to a destination that there is not; the operator says the same."""
    return f"`{name}` is not in `spec.destinations`{nearest or '; add it there, or write dicomStore'}"


def other_sop(what: str) -> str:
    """The data set is of another instance than the command; `what`: SOP Instance UID or SOP Class UID."""
    return f"{what} of data set and command differ"


def at_destination(name: str, text: str) -> str:
    """What came of an instance at one of `spec.destinations`."""
    return f"'{name}': {text}"


NODE_ANSWERS = "the node answers"


def answered_with(status: int) -> str:
    """A DICOM node that is a destination has not taken an image."""
    return f"the node answered {status:04X}"


def unreadable_data_set(position: int, why: str) -> str:
    """A data set that has to be read for its route, and cannot be."""
    return f"Data set unreadable at byte {position}: {why}"


# -- storage commitment ----------------------------------------------------------------------------

NOT_THE_PUSH_MODEL = "Not the Storage Commitment Push Model SOP Instance"
UNREADABLE_COMMITMENT = "Action Information unreadable"
TOO_MANY_COMMITMENTS = "Too many commitments wait for their report, ask again"
COMMITMENT_NOT_WRITTEN = "The spool takes no commitment, ask again later"


def no_such_action(type_id: int) -> str:
    """An N-ACTION of another kind."""
    return f"No such action: {type_id}"


def mandatory(keyword: str) -> str:
    """Something is missing in a request."""
    return f"Mandatory tag empty: {keyword}"


def report_delayed(ae_title: str, where: str, why: str, *, tries: int, pause: float, until: float) -> str:
    """The peer could not be told."""
    return f"commitment report to '{ae_title}' ({where}) not delivered: {why}; {_again(tries, pause, until)}"


def verdict_delayed(ae_title: str, why: str, *, tries: int, pause: float, until: float) -> str:
    """The store could not be asked."""
    return f"commitment of '{ae_title}' waits for the store: {why}; {_again(tries, pause, until)}"


def _again(tries: int, pause: float, until: float) -> str:
    return f"try {tries}, next in {pause / 60:.0f} min, until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%MZ}"


def report_given_up(ae_title: str, where: str, why: str) -> str:
    """A day is over."""
    return f"commitment report to '{ae_title}' ({where}) given up after a day: {why}; have '{ae_title}' ask again"


# -- the mounted Secrets and ConfigMaps ------------------------------------------------------------


def object_missing(what: str, name: str, namespace: str, directory: str) -> str:
    """Nothing is mounted: the Secret or ConfigMap does not exist."""
    where = f"does not exist in namespace '{namespace}'" if namespace else f"does not exist: there is nothing in {directory}"
    return f"{what} '{name}' {where}; create it, no restart is needed"


def key_missing(what: str, name: str, key: str, others: list[str]) -> str:
    """The Secret or ConfigMap is there, its key is not."""
    has = ", ".join(f"'{other}'" for other in others[:5])
    return f"{what} '{name}' has no key '{key}' (it has {has}); add it, no restart is needed"


def key_unusable(what: str, name: str, key: str, why: str) -> str:
    """The key holds something else than it should."""
    return f"{what} '{name}', key '{key}': {why}; correct it, no restart is needed"


# -- lifecycle -------------------------------------------------------------------------------------


def listening(ae_title: str, port: int, store: str) -> str:
    """Start."""
    return f"'{ae_title}' listens on port {port} and stores into {store}"


def draining(associations: int) -> str:
    """SIGTERM."""
    return f"draining: {associations} associations open"


SUSPENDED = "spec.suspend is true: nothing is received; what waits in the spool is delivered"
LEAVING = "this pod is not wanted any more (spec.replicas): it receives nothing, and leaves when what waits in its spool is delivered"
DRAINED = "drained: every association has ended"


def cut_off(associations: int) -> str:
    """The second SIGTERM."""
    return f"aborted at once on a second signal: {associations} associations were open"


def cannot_listen(flag: str, port: int, why: str) -> str:
    """A port that cannot be opened."""
    return str(ConfigError(flag, f"port {port} cannot be opened ({why}); free it or choose another"))


def no_address(flag: str, host: str, why: str) -> str:
    """A host that has no address."""
    return str(ConfigError(flag, f"'{host}' is no address to listen on ({why}); write one of this machine's, or leave it out for all"))


def cannot_read_key_file(path: str, why: str) -> str:
    """GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read."""
    return str(ConfigError("GOOGLE_APPLICATION_CREDENTIALS", f"cannot read '{path}' ({why}); name a readable key file or unset it"))


def cannot_write_temporary(path: str, why: str) -> str:
    """The directory for temporary files."""
    return str(ConfigError("TMPDIR", f"cannot write to '{path}' ({why}); mount a writable directory there or name another"))


# -- the store, as the probe sees it; diagnosis.py has the sentences of its states -----------------


def answers_again(seconds: float) -> str:
    """The end of an outage."""
    minutes, rest = divmod(round(seconds), 60)
    return f"the store answers again after {f'{minutes} min ' if minutes else ''}{rest} s"


# -- dicom-adapter echo ----------------------------------------------------------------------------

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
    size = f"PDUs of up to {maximum_length} bytes" if maximum_length else "PDUs of any length"
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
