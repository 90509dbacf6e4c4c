"""The configuration: what is read, and every sentence for what is wrong."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from dicom_adapter.config import (
    HEALTHCARE_SCOPE,
    Acknowledge,
    BacklogThresholds,
    Config,
    ConfigErrors,
    CredentialKind,
    Credentials,
    Delivery,
    DicomStore,
    Limits,
    LogLevel,
    ObjectKey,
    OnConflict,
    Peer,
    Query,
    Retry,
    ServiceName,
    Spool,
)
from dicom_adapter.document import load
from dicom_adapter.spec.store import is_google_host

STORE = "https://pacs.example/dicom-web"
PATH = "projects/p/locations/l/datasets/d/dicomStores/s"
URL = f"https://healthcare.googleapis.com/v1/{PATH}/dicomWeb"
SHAPE = "projects/P/locations/L/datasets/D/dicomStores/S"


def config(**spec: Any) -> Config:
    return load(json.dumps({"aeTitle": "GATE", "dicomStore": STORE, **spec}), {}, aliases={})


def errors(**spec: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        config(**spec)
    return [str(error) for error in caught.value.errors]


def test_two_fields_are_enough() -> None:
    assert config() == Config(ae_title="GATE", store=DicomStore(STORE))


def test_every_field_is_read() -> None:
    text = f"""
apiVersion: dicomadapter.io/v1alpha1
kind: DicomAdapter
metadata: {{name: ct-east, namespace: rad, labels: {{a: b}}}}
spec:
  aeTitle: GATE
  acceptedAETitles: [OLD GATE, GATE2]
  port: 2575
  dicomStore: {PATH}/
  credentials:
    googleKeySecret: {{name: gcs-key}}
    scopes: [https://www.googleapis.com/auth/cloud-platform]
    caBundle: {{configMap: hospital-ca}}
    proxy: http://proxy.example:3128/
  delivery:
    timeoutSeconds: 30
    onConflict: Overwrite
    maxConcurrentUploads: 6
    maxRequestsPerMinute: 600
    acknowledge: AfterSpool
    backlogThresholds: {{seconds: 60, instances: 5000}}
    retry: {{maxAttempts: 7, initialDelayMilliseconds: 100, maxDelayMilliseconds: 900, statusCodes: [503, 409, 503]}}
  spool: {{persistent: {{size: 50Gi, storageClassName: fast}}, maxBytes: 40000000000, reserveBytes: 2000000000}}
  limits:
    maxAssociations: 1
    maxAssociationsPerPeer: 2
    maxPDUBytes: 4096
    associationTimeoutSeconds: 3
    dimseTimeoutSeconds: 4
    idleTimeoutSeconds: 5
  drainSeconds: 20
  terminationGracePeriodSeconds: 30
  logLevel: Debug
  replicas: 3
  service: {{type: ClusterIP}}
status: {{}}
"""
    assert load(text, {}, aliases={}) == Config(
        ae_title="GATE",
        store=DicomStore(URL, PATH),
        accepted_ae_titles=("OLD GATE", "GATE2"),
        port=2575,
        credentials=Credentials(
            CredentialKind.GOOGLE_KEY,
            ObjectKey("gcs-key", "key.json"),
            ("https://www.googleapis.com/auth/cloud-platform",),
            ObjectKey("hospital-ca", "ca.crt"),
            proxy="http://proxy.example:3128",
        ),
        delivery=Delivery(
            30, OnConflict.OVERWRITE, Retry(7, 100, 900, (503, 409)), 6, 600, Acknowledge.AFTER_SPOOL, BacklogThresholds(60, 5000)
        ),
        spool=Spool(40_000_000_000, 2_000_000_000),
        limits=Limits(1, 2, 4096, 3, 4, 5),
        drain_seconds=20,
        termination_grace_period_seconds=30,
        log_level=LogLevel.DEBUG,
        name="ct-east",
        namespace="rad",
    )


@pytest.mark.parametrize(
    ("written", "store"),
    [
        (PATH, DicomStore(URL, PATH)),
        (f"/{PATH}/", DicomStore(URL, PATH)),
        (URL, DicomStore(URL, PATH)),
        (URL + "//", DicomStore(URL, PATH)),
        ("http://10.0.0.1:8042/dicom-web/", DicomStore("http://10.0.0.1:8042/dicom-web")),
        ("https://[::1]:8443", DicomStore("https://[::1]:8443")),
        ("https://PACS_1.example./a%20b/;v=1//~x", DicomStore("https://PACS_1.example./a%20b/;v=1//~x")),
        ("http://xn--exmple-cua:8042", DicomStore("http://xn--exmple-cua:8042")),
    ],
)
def test_a_store_is_a_path_or_a_url(written: str, store: DicomStore) -> None:
    found = config(dicomStore=written)
    assert found.store == store
    assert found.credentials.kind is (CredentialKind.GOOGLE_DEFAULT if store.healthcare_path else CredentialKind.NONE)


ENCODED = "holds characters that a URL cannot hold; write them percent-encoded, and a host name in its xn-- form"
BAD_STORES = {
    f"{STORE}/studies": f"must not end in /studies, the adapter adds that itself; write '{STORE}'",
    f"{URL}/studies/": f"must not end in /studies, the adapter adds that itself; write '{URL}'",
    f"{PATH}/dicomWeb/studies": f"must not end in /studies, the adapter adds that itself; write '{PATH}/dicomWeb'",
    "projects/p/locations/l/datasets/d": f"'projects/p/locations/l/datasets/d' is not the whole path of a DICOM store; write {SHAPE}",
    f"{PATH}/dicomWeb": f"'{PATH}/dicomWeb' is not the whole path of a DICOM store; write {SHAPE}",
    "pacs.example": f"'pacs.example' is neither a Cloud Healthcare path nor a URL; write {SHAPE} or https://HOST/PATH",
    "ftp://pacs.example/": "has the scheme 'ftp'; write an http:// or https:// URL",
    "https://u:p@pacs.example/": (
        "holds a user or password; write the URL without it and name a Secret in spec.credentials.basicAuthSecret"
    ),
    f"{STORE}?a=b": "holds a query or fragment; write the base URL alone, without ? and #",
    f"{STORE}#x": "holds a query or fragment; write the base URL alone, without ? and #",
    "https:///x": "'https:///x' has no valid host and port; write https://HOST/PATH",
    "https://pacs.example:99999/": "'https://pacs.example:99999' has no valid host and port; write https://HOST/PATH",
    "http://pacs..example/": "'http://pacs..example' has no valid host and port; write https://HOST/PATH",
    f"http://{'x' * 64}.example": f"'http://{'x' * 64}.example' has no valid host and port; write https://HOST/PATH",
    "http://-pacs.example": "'http://-pacs.example' has no valid host and port; write https://HOST/PATH",
    "http://127.1:80/x": "'http://127.1:80/x' has no valid host and port; write https://HOST/PATH",
    "http://[::1/x": "'http://[::1/x' has no valid host and port; write https://HOST/PATH",
    "https://evil.example\\.googleapis.com/x": ENCODED,
    "https://pacs.exämple/": ENCODED,
    "https://pacs.example/dïcom": ENCODED,
    "https://pacs.example/100%": ENCODED,
    "projects/p/locations/l/datasets/dä/dicomStores/s": ENCODED,
    "https://pacs.example/a b": "holds white space; write one URL",
    "https://healthcare.googleapis.com/v1/projects/p": (
        "'https://healthcare.googleapis.com/v1/projects/p' is not the address of a Cloud Healthcare DICOM store; "
        f"write https://healthcare.googleapis.com/v1/{SHAPE}/dicomWeb"
    ),
    "x" * 2049: "has 2049 characters; write at most 2048",
}


@pytest.mark.parametrize("written", BAD_STORES)
def test_a_wrong_store_is_refused_with_what_to_write_instead(written: str) -> None:
    assert errors(dicomStore=written) == [f"spec.dicomStore: {BAD_STORES[written]}"]


NOT_AN_AE = "cannot be an AE title; write printable ASCII without a backslash and without spaces at the ends"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "AE title too long": ({"aeTitle": "A" * 17}, f"spec.aeTitle: '{'A' * 17}' has 17 characters; write at most 16"),
    "AE title with a backslash": ({"aeTitle": "A\\B"}, f"spec.aeTitle: 'A\\\\B' {NOT_AN_AE}"),
    "AE title with a space at its end": ({"aeTitle": "GATE "}, f"spec.aeTitle: 'GATE ' {NOT_AN_AE}"),
    "AE title not ASCII": ({"aeTitle": "GÄTE"}, f"spec.aeTitle: 'GÄTE' {NOT_AN_AE}"),
    "AE title a number": ({"aeTitle": 7}, "spec.aeTitle: 7 is not a text; write it in quotes"),
    "no AE title": ({"aeTitle": None}, "spec.aeTitle: is missing; write the AE title that senders call, for example IMPORTADAPTER"),
    "accepted twice": ({"acceptedAETitles": ["A", "A"]}, "spec.acceptedAETitles[1]: 'A' is there twice; remove one"),
    "accepted too long": ({"acceptedAETitles": ["A" * 17]}, f"spec.acceptedAETitles[0]: '{'A' * 17}' has 17 characters; write at most 16"),
    "accepted too many": ({"acceptedAETitles": [f"A{n}" for n in range(17)]}, "spec.acceptedAETitles: has 17 items; write at most 16"),
    "accepted no list": ({"acceptedAETitles": "A"}, "spec.acceptedAETitles: 'A' is not a list; write one '- item' a line"),
    "port 0": ({"port": 0}, "spec.port: 0 is out of range; write a number from 1 to 65535"),
    "port in quotes": ({"port": "104"}, "spec.port: '104' is not a whole number; write a number from 1 to 65535, without quotes"),
    "port a Boolean": ({"port": True}, "spec.port: true is not a whole number; write a number from 1 to 65535, without quotes"),
    "timeout": ({"delivery": {"timeoutSeconds": 601}}, "spec.delivery.timeoutSeconds: 601 is out of range; write a number from 1 to 600"),
    "retries": (
        {"delivery": {"retry": {"maxAttempts": 0}}},
        "spec.delivery.retry.maxAttempts: 0 is out of range; write a number from 1 to 20",
    ),
    "retry, codes": (
        {"delivery": {"retry": {"statusCodes": [503, 99]}}},
        "spec.delivery.retry.statusCodes[1]: 99 is out of range; write a number from 400 to 599",
    ),
    "retry, codes no list": (
        {"delivery": {"retry": {"statusCodes": 503}}},
        "spec.delivery.retry.statusCodes: 503 is not a list; write one '- item' a line",
    ),
    "retry, many codes": (
        {"delivery": {"retry": {"statusCodes": [500] * 33}}},
        "spec.delivery.retry.statusCodes: has 33 items; write at most 32",
    ),
    "retry, delays": (
        {"delivery": {"retry": {"initialDelayMilliseconds": 6000, "maxDelayMilliseconds": 5000}}},
        "spec.delivery.retry.maxDelayMilliseconds: 5000 is less than initialDelayMilliseconds; write at least 6000",
    ),
    "conflict": (
        {"delivery": {"onConflict": "Replace"}},
        "spec.delivery.onConflict: 'Replace' is not known; write one of Fail, Keep, Overwrite",
    ),
    "no requests": (
        {"delivery": {"maxRequestsPerMinute": 0}},
        "spec.delivery.maxRequestsPerMinute: 0 is out of range; write a number from 1 to 1000000",
    ),
    "acknowledge": (
        {"delivery": {"acknowledge": "Afterspool"}},
        "spec.delivery.acknowledge: 'Afterspool' is not known; write one of AfterStore, AfterSpool; did you mean 'AfterSpool'?",
    ),
    "backlog of nothing": (
        {"delivery": {"backlogThresholds": {"instances": 0}}},
        "spec.delivery.backlogThresholds.instances: 0 is out of range; write a number from 1 to 1000000000",
    ),
    "a spool's size in words": (
        {"spool": {"maxBytes": "40Gi"}},
        "spec.spool.maxBytes: '40Gi' is not a whole number; write a number from 1 to 9007199254740992, without quotes",
    ),
    "spool, unknown": ({"spool": {"maxbytes": 1}}, "spec.spool.maxbytes: is not a field; did you mean 'maxBytes'?"),
    "proxy with a password": (
        {"credentials": {"proxy": "http://me:secret@proxy:3128"}},
        "spec.credentials.proxy: holds a user or password; write the URL without it",
    ),
    "proxy that is none": (
        {"credentials": {"proxy": "socks5://proxy:1080"}},
        "spec.credentials.proxy: 'socks5://proxy:1080' is no HTTP proxy; write http://HOST:PORT",
    ),
    "proxy with a wrong port": (
        {"credentials": {"proxy": "http://proxy:x"}},
        "spec.credentials.proxy: 'http://proxy:x' is no HTTP proxy; write http://HOST:PORT",
    ),
    "limits": ({"limits": {"maxPDUBytes": 4095}}, "spec.limits.maxPDUBytes: 4095 is out of range; write a number from 4096 to 1048576"),
    "limits, unknown": (
        {"limits": {"maxPduBytes": 4096}},
        "spec.limits.maxPduBytes: is not a field; did you mean 'maxPDUBytes'?",
    ),
    "limits no mapping": ({"limits": [1]}, "spec.limits: a list is not a mapping; write its fields below it, indented"),
    "no results": ({"query": {"maxResults": 0}}, "spec.query.maxResults: 0 is out of range; write a number from 1 to 1000000"),
    "fuzzy": (
        {"query": {"fuzzyMatching": "yes"}},
        "spec.query.fuzzyMatching: 'yes' is neither true nor false; write one of them, without quotes",
    ),
    "no services": ({"services": []}, "spec.services: is empty; write at least one service, or leave it out for all"),
    "a service that is none": (
        {"services": ["Storage", "Retreive"]},
        "spec.services[1]: 'Retreive' is no service; write one of Verification, Storage, Query, Retrieve, StorageCommitment; "
        "did you mean 'Retrieve'?",
    ),
    "peers no list": ({"peers": {"WS1": {}}}, "spec.peers: a mapping is not a list; write one '- item' a line"),
    "a peer no mapping": ({"peers": ["WS1"]}, "spec.peers[0]: 'WS1' is not a mapping; write its fields below '-', indented"),
    "a peer without a title": (
        {"peers": [{"host": "a", "port": 1}]},
        "spec.peers[0].aeTitle: is missing; write the AE title of the peer, upper and lower case as it gives it",
    ),
    "a peer twice": ({"peers": [{"aeTitle": "A"}, {"aeTitle": "A"}]}, "spec.peers[1].aeTitle: 'A' is there twice; remove one"),
    "a host without a port": (
        {"peers": [{"aeTitle": "A", "host": "a"}]},
        "spec.peers[0].port: is missing beside host; write both, or neither for a peer that is never called",
    ),
    "a port without a host": (
        {"peers": [{"aeTitle": "A", "port": 104}]},
        "spec.peers[0].host: is missing beside port; write both, or neither for a peer that is never called",
    ),
    "a URL for a host": (
        {"peers": [{"aeTitle": "A", "host": "http://a", "port": 104}]},
        "spec.peers[0].host: 'http://a' is no host; write a name or an address, without scheme and port",
    ),
    "an address that is no network": (
        {"peers": [{"aeTitle": "A", "addresses": ["10.0.0.0/8", "10.1.2.3"]}]},
        "spec.peers[0].addresses[1]: '10.1.2.3' is no network; write for example 10.20.0.0/16, a single address as 10.20.3.4/32",
    ),
    "unknown peers": (
        {"unknownPeers": "Refuse"},
        "spec.unknownPeers: 'Refuse' is not known; write one of Accept, Reject",
    ),
    "calling AE title": ({"callingAETitle": "A\\B"}, f"spec.callingAETitle: 'A\\\\B' {NOT_AN_AE}"),
    "grace": (
        {"drainSeconds": 30, "terminationGracePeriodSeconds": 30},
        "spec.terminationGracePeriodSeconds: 30 is too short to drain in; write at least drainSeconds + 10 = 40",
    ),
    "log level": (
        {"logLevel": "DEBUG"},
        "spec.logLevel: 'DEBUG' is not known; write one of Debug, Info, Warning, Error; did you mean 'Debug'?",
    ),
    "a number without end": ({"port": 10**3000}, "spec.port: this value is out of range; write a number from 1 to 65535"),
    "unknown field": ({"dicomstore": STORE}, "spec.dicomstore: is not a field; did you mean 'dicomStore'?"),
    "a field of a later version": ({"deidentify": {}}, "spec.deidentify: is not a field; remove it"),
    "two credentials": (
        {"credentials": {"none": {}, "basicAuthSecret": {"name": "x"}}},
        "spec.credentials: holds basicAuthSecret and none; keep one of them",
    ),
    "unknown credentials": (
        {"credentials": {"bearerSecret": {"name": "x"}}},
        "spec.credentials.bearerSecret: is not a field; did you mean 'bearerTokenSecret'?",
    ),
    "Secret without a name": (
        {"credentials": {"bearerTokenSecret": {}}},
        "spec.credentials.bearerTokenSecret.name: is missing; write the name of the Secret",
    ),
    "a way out of the directory": (
        {"credentials": {"bearerTokenSecret": {"name": "../x"}}},
        "spec.credentials.bearerTokenSecret.name: '../x' cannot be the name of a Secret; write its name alone",
    ),
    "a way out of the directory by its key": (
        {"credentials": {"bearerTokenSecret": {"name": "x", "key": "../y"}}},
        "spec.credentials.bearerTokenSecret.key: '../y' cannot be a key; write the name of a key alone",
    ),
    "basic has no key": (
        {"credentials": {"basicAuthSecret": {"name": "x", "key": "y"}}},
        "spec.credentials.basicAuthSecret.key: is not a field; remove it",
    ),
    "a certificate has no key either": (
        {"credentials": {"clientCertificateSecret": {"name": "x", "key": "y"}}},
        "spec.credentials.clientCertificateSecret.key: is not a field; remove it",
    ),
    "a certificate without TLS": (
        {"dicomStore": "http://pacs/", "credentials": {"clientCertificateSecret": {"name": "x"}}},
        "spec.credentials.clientCertificateSecret: a client certificate is shown in TLS, which http:// has not; "
        "write an https:// URL in spec.dicomStore",
    ),
    "Google token elsewhere": (
        {"credentials": {"googleApplicationDefault": {}}},
        "spec.credentials.googleApplicationDefault: a Google token goes to Google's hosts only, not to 'pacs.example'; "
        "use another kind of credentials or none: {}",
    ),
    "Google token in the clear": (
        {"dicomStore": "http://eu-healthcare.googleapis.com/v1", "credentials": {"googleKeySecret": {"name": "x"}}},
        "spec.credentials.googleKeySecret: a Google token is not sent over http://; write an https:// URL in spec.dicomStore",
    ),
    "password in the clear": (
        {"dicomStore": "http://pacs/", "credentials": {"basicAuthSecret": {"name": "x"}}},
        "spec.credentials.basicAuthSecret: the password would cross the network in the clear; "
        "use an https:// dicomStore, or write allowInsecure: true",
    ),
    "token in the clear": (
        {"dicomStore": "http://pacs/", "credentials": {"bearerTokenSecret": {"name": "x"}}},
        "spec.credentials.bearerTokenSecret: the token would cross the network in the clear; "
        "use an https:// dicomStore, or write allowInsecure: true",
    ),
    "allowInsecure": (
        {"credentials": {"allowInsecure": "yes"}},
        "spec.credentials.allowInsecure: 'yes' is neither true nor false; write one of them, without quotes",
    ),
    "caBundle": (
        {"credentials": {"caBundle": {"key": "x"}}},
        "spec.credentials.caBundle.configMap: is missing; write the name of the ConfigMap",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_spec_is_refused_with_what_to_write_instead(name: str) -> None:
    spec, expected = BAD[name]
    assert errors(**spec) == [expected]


YAML = "--config: the file is not valid YAML"
WRITE = "write a DicomAdapter document"
NO_MAPPING = f"--config: the file holds no mapping; {WRITE} or its spec"
PYTHON = "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'"
SPEC = f"spec: {{aeTitle: A, dicomStore: '{STORE}'}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aeTitle: [", f"{YAML} (line 1, column 11: expected the node content, but found '<stream end>'); {WRITE}"),
        ("aeTitle: A\naeTitle: B", f"{YAML} (line 2, column 1: 'aeTitle' is there twice); {WRITE}"),
        ("2: 3", f"{YAML} (line 1, column 1: 2 is not a field name); {WRITE}"),
        ("!!python/object/apply:os.system [true]", f"{YAML} (line 1, column 1: {PYTHON}); {WRITE}"),
        ("[" * 1500, f"{YAML}; {WRITE}"),
        ("[1]", NO_MAPPING),
        ("", NO_MAPPING),
        (
            f"apiVersion: v1\nkind: DicomAdapter\nmetadata: {{}}\n{SPEC}",
            "apiVersion: 'v1' is not for this adapter; write dicomadapter.io/v1alpha1",
        ),
        (
            f"apiVersion: dicomadapter.io/v1alpha1\nkind: DicomAdaptor\nmetadata: {{}}\n{SPEC}",
            "kind: 'DicomAdaptor' is not for this adapter; write DicomAdapter",
        ),
    ],
)
def test_a_file_that_is_no_document(text: str, expected: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(text, {}, aliases={})
    assert [str(error) for error in caught.value.errors] == [expected]


def test_a_document_without_a_spec_says_so() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load("apiVersion: dicomadapter.io/v1alpha1\nkind: DicomAdapter\nmetadata: {name: x}", {}, aliases={})
    assert str(caught.value.errors[0]) == "spec: is missing; write aeTitle and dicomStore below it"


def test_flags_win_over_the_document_and_errors_name_them() -> None:
    text = json.dumps({"aeTitle": "GATE", "dicomStore": STORE, "port": 104, "credentials": {"allowInsecure": True}})
    values = {"spec.port": 2575, "spec.credentials.scopes": ["a", "b"]}
    found = load(text, values, aliases={})
    assert (found.port, found.credentials.scopes, found.credentials.allow_insecure) == (2575, ("a", "b"), True)
    with pytest.raises(ConfigErrors) as caught:
        load(
            text,
            {"spec.credentials.scopes": ["a", "a"], "spec.aeTitle": ""},
            aliases={"spec.credentials.scopes": "--oauth_scopes", "spec.aeTitle": "--dimse_aet"},
        )
    assert [error.path for error in caught.value.errors] == ["--dimse_aet", "--oauth_scopes"]


def test_peers_and_services_are_read() -> None:
    found = config(
        services=["Verification", "Query"],
        callingAETitle="OUT",
        peers=[
            {"aeTitle": "WS1", "host": "ws1.example", "port": 104, "allow": ["Query"]},
            {"aeTitle": "CT1", "addresses": ["10.20.3.4/16", "fd00::/8"]},
        ],
    )
    assert found.services == (ServiceName.VERIFICATION, ServiceName.QUERY)
    networks = (ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00::/8"))
    assert found.peers == (Peer("WS1", "ws1.example", 104, (ServiceName.QUERY,)), Peer("CT1", addresses=networks))
    assert (found.calling, config().calling) == ("OUT", "GATE")
    assert config(query={"maxResults": 9, "fuzzyMatching": True}).query == Query(True, 9)
    assert found.peer("CT1") is found.peers[1]
    assert found.peer("ct1") is None


def test_scopes_default_to_the_healthcare_scope() -> None:
    assert config(dicomStore=PATH).credentials.scopes == (HEALTHCARE_SCOPE,)


@pytest.mark.parametrize(
    ("host", "is_googles"),
    [
        ("healthcare.googleapis.com", True),
        ("healthcare.us-central1.rep.googleapis.com", True),
        ("googleapis.com", True),
        ("evilgoogleapis.com", False),
        ("healthcare.googleapis.com.evil.example", False),
    ],
)
def test_googles_hosts(host: str, is_googles: bool) -> None:
    assert is_google_host(host) is is_googles
