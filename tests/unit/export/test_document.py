"""A DicomExport document and Google's flags: what they become, and what is wrong with them, all of it at once."""

import io

import pytest

from dicom_adapter.cli import main
from dicom_adapter.config import ConfigError, ConfigErrors, CredentialKind
from dicom_adapter.export import document, google_flags
from dicom_adapter.export.config import SCOPES, Grouping, Peer, Transcode, Web

STORE = "projects/p/locations/l/datasets/d/dicomStores/s"
SMALLEST = f"""
source:
  dicomStore: {STORE}
  pubsub: {{subscription: projects/p/subscriptions/images}}
destination:
  peer: {{aeTitle: PACS, host: 10.1.2.3, port: 104}}
"""


def load(text: str):
    return document.load(text, {}, aliases={})


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as found:
        load(text)
    return [str(error) for error in found.value.errors]


def test_the_smallest_document():
    config = load(SMALLEST)
    assert config.source.store.healthcare_path == STORE
    assert config.source.credentials.kind is CredentialKind.GOOGLE_DEFAULT
    assert config.source.credentials.scopes == SCOPES
    assert config.source.pubsub is not None
    assert config.source.pubsub.ours
    assert config.destination == Peer("PACS", "10.1.2.3", 104)
    assert (config.calling_ae_title, config.grouping, config.transcode) == ("EXPORTADAPTER", Grouping.INSTANCE, Transcode.WHEN_REFUSED)


def test_a_whole_document_with_its_kind():
    text = "apiVersion: dicomadapter.io/v1alpha1\nkind: KIND\nmetadata: {name: x, namespace: rad}\nspec:" + SMALLEST.replace("\n", "\n  ")
    config = load(text.replace("KIND", "DicomExport"))
    assert (config.name, config.namespace) == ("x", "rad")
    assert errors(text.replace("KIND", "DicomAdapter")) == ["kind: 'DicomAdapter' is not for this adapter; write DicomExport"]


def test_a_dicomweb_destination_never_inherits_credentials():
    text = SMALLEST.replace("peer: {aeTitle: PACS, host: 10.1.2.3, port: 104}", "dicomweb: {url: URL}")
    for url in ("https://pacs.example/dicom-web", STORE):
        config = load(text.replace("URL", url))
        assert isinstance(config.destination, Web)
        assert config.destination.credentials.kind is CredentialKind.NONE
    asked = text.replace("{url: URL}", f"{{url: {STORE}, credentials: {{googleApplicationDefault: {{}}}}}}")
    assert isinstance(load(asked).destination, Web)
    assert load(asked).destination.credentials.kind is CredentialKind.GOOGLE_DEFAULT
    assert errors(asked.replace(f"url: {STORE}", "url: https://pacs.example/dicom-web")) == [
        "spec.destination.dicomweb.credentials.googleApplicationDefault: a Google token goes to Google's hosts only, not to "
        "'pacs.example'; use another kind of credentials or none: {}"
    ]


def test_an_emulator_gets_no_token():
    text = SMALLEST.replace("images}", "images, endpoint: 'http://localhost:8085', allowInsecure: true}")
    pubsub = load(text).source.pubsub
    assert pubsub is not None
    assert (pubsub.url, pubsub.ours) == ("http://localhost:8085", False)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("peer: {aeTitle: PACS, host: 10.1.2.3, port: 104}", "{}", "spec.destination: is missing; write peer or dicomweb below it"),
        (
            "peer: {aeTitle: PACS, host: 10.1.2.3, port: 104}",
            "peer: {aeTitle: P, host: h, port: 1}\n  dicomweb: {url: 'https://h/w'}",
            "spec.destination: holds peer and dicomweb; keep one of them",
        ),
        (", port: 104", "", "spec.destination.peer.port: is missing; write the port that the node listens on, often 104 or 11112"),
        (
            "host: 10.1.2.3",
            "host: 'dicom://pacs'",
            "spec.destination.peer.host: 'dicom://pacs' is neither a host name nor an address; write it without scheme and port",
        ),
        (
            "projects/p/subscriptions/images",
            "images",
            "spec.source.pubsub.subscription: 'images' names no subscription; write projects/P/subscriptions/S",
        ),
        (
            "images}",
            "images, endpoint: 'http://x:1'}",
            "spec.source.pubsub.endpoint: is http://, and messages would cross the network in the clear; write https://, or "
            "allowInsecure: true",
        ),
        (
            "images}",
            "images, endpoint: 'https://user@x'}",
            "spec.source.pubsub.endpoint: is no address of Pub/Sub; write https://HOST, or http://HOST:PORT for an emulator",
        ),
        (
            f"dicomStore: {STORE}",
            "dicomStore: http://orthanc:8042/dicom-web",
            "spec.source.pubsub.subscription: Pub/Sub wants a Google account; write googleApplicationDefault or googleKeySecret in "
            "spec.source.credentials",
        ),
        (
            "destination:",
            "delivery: {deadLetter: {topic: dead}}\ndestination:",
            "spec.delivery.deadLetter.topic: 'dead' names no topic; write projects/P/topics/T",
        ),
        ("destination:", "grouping: Series\ndestination:", "spec.grouping: 'Series' is not known; write one of Instance, Study"),
        (
            "destination:",
            "filter: {modalities: [ct]}\ndestination:",
            "spec.filter.modalities[0]: 'ct' is no modality; write its code, such as CT",
        ),
        (
            "destination:",
            "filter: {}\ndestination:",
            "spec.filter.modalities: is missing; write modalities or attributes below it, or remove filter",
        ),
        ("pubsub:", "poll: {}\n  pubsub:", "spec.source: holds pubsub and poll; keep one of them"),
        (
            "pubsub: {subscription: projects/p/subscriptions/images}",
            "poll: {intervalSeconds: 0}",
            "spec.source.poll.intervalSeconds: 0 is out of range; write a number from 1 to 604800",
        ),
        (
            "pubsub: {subscription: projects/p/subscriptions/images}",
            "poll: {}\n  reconcile: {}",
            "spec.source.reconcile: belongs to pubsub: poll sees everything; remove it",
        ),
        (
            "port: 104",
            "port: 104, tls: {serverName: 'dicom://pacs'}",
            "spec.destination.peer.tls.serverName: 'dicom://pacs' is neither a host name nor an address; "
            "write whom the node's certificate is for",
        ),
        (
            "port: 104",
            "port: 104, tls: {clientCertificateSecret: {}}",
            "spec.destination.peer.tls.clientCertificateSecret.name: is missing; write the name of the Secret",
        ),
        (
            "port: 104",
            "port: 104, tls: {caBundle: {key: x}}",
            "spec.destination.peer.tls.caBundle.configMap: is missing; write the name of the ConfigMap",
        ),
        ("port: 104", "port: 104, tls: {insecure: true}", "spec.destination.peer.tls.insecure: is not a field; remove it"),
        ("destination:", "deidentify: {}\ndestination:", "spec.deidentify: is not a field; remove it"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(before, after, said):
    assert before in SMALLEST
    assert errors(SMALLEST.replace(before, after)) == [said]


def test_every_mistake_is_said_at_once():
    assert [error.partition(":")[0] for error in errors("source: {}\nnonsense: 1\n")] == [
        "spec.nonsense",
        "spec.source.dicomStore",
        "spec.source.pubsub",
        "spec.destination",
    ]


# -- Google's flags --------------------------------------------------------------------------------

SOURCE = ("--project_id=p", "--subscription_id=images", f"--dicomweb_addr={STORE}")
PEER = ("--peer_dimse_aet=PACS", "--peer_dimse_ip=pacs.example", "--peer_dimse_port=104")


def flags(*arguments: str):
    values = {name: value or "true" for name, _, value in (argument.partition("=") for argument in arguments)}
    wrong: list[ConfigError] = []
    found = google_flags.overrides(values, wrong, document=False)
    assert not wrong
    return document.load(None, found, aliases=google_flags.ALIASES)


def test_googles_flags_for_a_node():
    config = flags(*SOURCE, *PEER, "--client_aet=ME", "--verbose")
    assert config.destination == Peer("PACS", "pacs.example", 104)
    assert config.source.pubsub is not None
    assert config.source.pubsub.subscription == "projects/p/subscriptions/images"
    assert (config.source.store.healthcare_path, config.calling_ae_title, config.log_level) == (STORE, "ME", "Debug")


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        (("--peer_dicomweb_address=https://h/dicom-web/",), "https://h/dicom-web"),
        (("--peer_dicomweb_addr=https://h/dicom-web", "--peer_dicomweb_stow_path=/studies"), "https://h/dicom-web"),
        (("--peer_dicomweb_addr=https://h", "--peer_dicomweb_stow_path=dicom-web/studies"), "https://h/dicom-web"),
    ],
)
def test_googles_flags_for_a_store(arguments, url):
    config = flags(*SOURCE, *arguments)
    assert isinstance(config.destination, Web)
    assert config.destination.store.url == url
    assert config.destination.credentials.kind is CredentialKind.NONE


def test_googles_inverted_switch_says_what_it_says_now():
    config = flags(*SOURCE, f"--peer_dicomweb_address={STORE}", "--use_gcp_application_default_credentials")
    assert isinstance(config.destination, Web)
    assert config.destination.credentials.kind is CredentialKind.GOOGLE_DEFAULT


def run(*arguments: str) -> tuple[int, str]:
    err = io.StringIO()
    return main(("export", *arguments), {}, io.StringIO(), err), err.getvalue()


def test_both_kinds_of_destination_or_none_are_googles_sentences_and_exit_status_1():
    assert run(*SOURCE, *PEER, "--peer_dicomweb_address=https://h/w") == (1, "Both C-STORE and STOW-RS flags should not be specified.\n")
    assert run(*SOURCE) == (1, "Neither C-STORE nor STOW-RS flags have been specified.\n")


def test_half_a_subscription_and_half_a_node_are_flags_to_add():
    status, told = run("--project_id=p", f"--dicomweb_addr={STORE}", PEER[0])
    assert status == 2
    assert told.splitlines() == [
        "--subscription_id: is missing; --project_id and --subscription_id name a subscription together",
        "spec.source.pubsub: is missing; write subscription: projects/P/subscriptions/S below it; a store without Pub/Sub has poll: {} "
        "instead",
        "--peer_dimse_ip: is missing; write the host name or address of the node",
        "--peer_dimse_port: is missing; write the port that the node listens on, often 104 or 11112",
    ]


def test_the_help_lists_every_flag_and_an_unknown_one_gets_a_hint():
    out = io.StringIO()
    assert main(("export", "--help"), {}, out, io.StringIO()) == 0
    assert all(f"  {flag.name}" in out.getvalue() for flag in (*google_flags.GOOGLE_FLAGS, *google_flags.IDLE_FLAGS))
    assert run("--peer_dimse_aett=PACS") == (
        2,
        "--peer_dimse_aett: is not a flag of this version; did you mean '--peer_dimse_aet'?\n",
    )


def test_flags_win_over_a_document(tmp_path):
    file = tmp_path / "export.yaml"
    file.write_text(SMALLEST)
    status, told = run(f"--config={file}", "--peer_dimse_port=0", "--log_format=xml")
    assert status == 2
    assert told.splitlines() == [
        "--peer_dimse_port: '0' is not a port; write a number from 1 to 65535",
        "--log_format: 'xml' is not known; write json or text",
    ]
