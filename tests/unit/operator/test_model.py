"""The second line of validation: what is refused, with which words, and what the adapter is told."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_operator.config import Config
from dicom_operator.errors import SpecError
from dicom_operator.model.adapter import is_paused
from dicom_operator.spec.spool import Claim
from tests.unit.operator.builders import HEALTHCARE, STORE, adapter, body

CLAIM_SIZE = "must be a quantity above 0, for example '20Gi', not "
ARCHIVE = {"name": "archive", "dicomStore": STORE}
BY_MODALITY = {"attributes": [{"keyword": "Modality", "values": ["CT"]}]}


def routed(*routes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"destinations": [ARCHIVE], "routes": list(routes), **spec}


ROUTES_REFUSED = [
    (
        routed({"destinations": ["archive"], "match": BY_MODALITY}, {"destinations": ["archive"]}, {"destinations": ["archiv"]}),
        "spec.routes[2].destinations[0]",
        "`archiv` is not in `spec.destinations`; did you mean `archive`?",
    ),
    (
        routed({"destinations": ["xyz"]}),
        "spec.routes[0].destinations[0]",
        "`xyz` is not in `spec.destinations`; add it there, or write dicomStore",
    ),
    (routed({"destinations": []}), "spec.routes[0].destinations", "is required"),
    (routed({"match": BY_MODALITY}), "spec.routes[0].destinations", "is required"),
    (
        routed({"match": {"attributes": [{"keyword": "Modalty", "values": ["CT"]}]}, "destinations": ["archive"]}),
        "spec.routes[0].match.attributes[0].keyword",
        "'Modalty' is neither the keyword of an attribute nor its tag as ggggeeee; did you mean 'Modality'?",
    ),
    (
        routed({"match": {"attributes": [{"keyword": "Modality", "values": []}]}, "destinations": ["archive"]}),
        "spec.routes[0].match.attributes[0].values",
        "is required",
    ),
    (
        routed({"match": BY_MODALITY, "destinations": ["archive"]}, {"match": BY_MODALITY, "destinations": ["dicomStore"]}),
        "spec.routes[1].match",
        "is that of spec.routes[0] as well; write the destinations of both into one route",
    ),
    (
        routed({"destinations": ["archive"]}, {"match": BY_MODALITY, "destinations": ["dicomStore"]}),
        "spec.routes[1].match",
        "is never reached: spec.routes[0] matches all of it; move it before that one, or remove it",
    ),
    (routed(routing="Every"), "spec.routing", "must be one of FirstMatch, AllMatches, not 'Every'"),
    (
        {"destinations": [ARCHIVE, ARCHIVE]},
        "spec.destinations[1].name",
        "'archive' is there twice; give each destination a name of its own",
    ),
    ({"destinations": [{**ARCHIVE, "name": "dicomStore"}]}, "spec.destinations[0].name", None),
    ({"destinations": [{**ARCHIVE, "name": "lock"}]}, "spec.destinations[0].name", "'lock' is a directory of the spool; choose another"),
    (
        {"destinations": [{"name": "archive"}]},
        "spec.destinations[0]",
        "must have either `dicomStore` or `aeTitle`, `host` and `port`; keep those of the place that it is",
    ),
    ({"destinations": [{**ARCHIVE, "aeTitle": "PACS"}]}, "spec.destinations[0]", None),
    ({"destinations": [{"name": "pacs", "aeTitle": "PACS", "host": "h"}]}, "spec.destinations[0].port", "is required"),
    ({"destinations": [{"name": "pacs", "aeTitle": "A\\B", "host": "h", "port": 104}]}, "spec.destinations[0].aeTitle", None),
    ({"destinations": [{"name": "archive", "dicomStore": "ftp://x"}]}, "spec.destinations[0].dicomStore", None),
    (
        {"destinations": [{"name": "a", "dicomStore": "http://a/b", "credentials": {"bearerTokenSecret": {"name": "a"}}}]},
        "spec.destinations[0].credentials.allowInsecure",
        "a token or password must not go over 'http://'; write `dicomStore` with 'https://', or set `credentials.allowInsecure` to true",
    ),
]

REFUSED = [
    *ROUTES_REFUSED,
    ({"delivery": {"acknowledge": "Never"}}, "spec.delivery.acknowledge", "must be one of AfterStore, AfterSpool, not 'Never'"),
    (
        {"delivery": {"acknowledge": "AfterSpool"}},
        "spec.spool.persistent",
        "is needed for `delivery.acknowledge` 'AfterSpool': what is acknowledged must outlive its pod; write for example {size: 20Gi}",
    ),
    ({"spool": {"persistent": {}}}, "spec.spool.persistent.size", f"{CLAIM_SIZE}None"),
    ({"spool": {"persistent": {"size": "much"}}}, "spec.spool.persistent.size", f"{CLAIM_SIZE}'much'"),
    ({"spool": {"persistent": {"size": 0}}}, "spec.spool.persistent.size", f"{CLAIM_SIZE}0"),
    ({"spool": {"persistent": {"size": True}}}, "spec.spool.persistent.size", f"{CLAIM_SIZE}True"),
    ({"spool": {"maxBytes": 0}}, "spec.spool.maxBytes", None),
    ({"spool": {"reserveBytes": -1}}, "spec.spool.reserveBytes", None),
    ({"delivery": {"backlogThresholds": {"seconds": 0}}}, "spec.delivery.backlogThresholds.seconds", None),
    ({"delivery": {"backlogThresholds": {"instances": 0}}}, "spec.delivery.backlogThresholds.instances", None),
    ({"aeTitle": None}, "spec.aeTitle", "is required"),
    (
        {"aeTitle": "SEVENTEEN_LETTERS"},
        "spec.aeTitle",
        "'SEVENTEEN_LETTERS' is no AE title; write 1 to 16 printable ASCII characters without backslash and without spaces at the ends",
    ),
    ({"aeTitle": "A\\B"}, "spec.aeTitle", None),
    ({"aeTitle": " GATE"}, "spec.aeTitle", None),
    ({"acceptedAETitles": ["OK", ""]}, "spec.acceptedAETitles[1]", None),
    ({"port": 0}, "spec.port", "must be a whole number between 1 and 65535, not 0"),
    ({"port": True}, "spec.port", None),
    ({"replicas": 33}, "spec.replicas", "must be a whole number between 0 and 32, not 33"),
    ({"suspend": "yes"}, "spec.suspend", "must be true or false, not 'yes'"),
    ({"logLevel": "Verbose"}, "spec.logLevel", "must be one of Info, Debug, Warning, Error, not 'Verbose'"),
    ({"dicomStore": 5}, "spec.dicomStore", "must be a string, not 5"),
    ({"dicomStore": "ftp://x"}, "spec.dicomStore", None),
    ({"dicomStore": "https://x:port/y"}, "spec.dicomStore", None),
    (
        {"dicomStore": f"{STORE}/studies/"},
        "spec.dicomStore",
        "must not end with '/studies', which the adapter appends itself; leave '/studies' out",
    ),
    ({"dicomStore": f"{HEALTHCARE}/studies"}, "spec.dicomStore", None),
    (
        {"dicomStore": "projects/p/dicomStores/s"},
        "spec.dicomStore",
        "the Cloud Healthcare path must be complete and nothing more: write 'projects/P/locations/L/datasets/D/dicomStores/S'",
    ),
    (
        {"dicomStore": "https://me:secret@pacs.example/x"},
        "spec.dicomStore",
        "must not contain a user name or password; put them into a Secret and name it in `credentials.basicAuthSecret`",
    ),
    ({"dicomStore": f"{STORE}?a=b"}, "spec.dicomStore", "must not have a query ('?') or a fragment ('#'); write only the base URL"),
    (
        {"credentials": {"none": {}, "basicAuthSecret": {"name": "a"}}},
        "spec.credentials",
        "has `basicAuthSecret` and `none`; "
        "keep one of `googleApplicationDefault`, `googleKeySecret`, `bearerTokenSecret`, `basicAuthSecret`, "
        "`clientCertificateSecret`, `none`",
    ),
    (
        {"dicomStore": "http://pacs/x", "credentials": {"bearerTokenSecret": {"name": "a"}}},
        "spec.credentials.allowInsecure",
        "a token or password must not go over 'http://'; write `dicomStore` with 'https://', or set `credentials.allowInsecure` to true",
    ),
    (
        {"dicomStore": "http://pacs/x", "credentials": {"clientCertificateSecret": {"name": "a"}}},
        "spec.credentials.clientCertificateSecret",
        "a client certificate is shown in TLS, which 'http://' has not; write `dicomStore` with 'https://', or remove it",
    ),
    (
        {"drainSeconds": 200},
        "spec.terminationGracePeriodSeconds",
        "must be at least `drainSeconds` + 10, that is 210; raise it, or lower `drainSeconds`",
    ),
    (
        {"service": {"sourceRanges": ["10.0.0.0/8", "10.0.0.0/33"]}},
        "spec.service.sourceRanges[1]",
        "'10.0.0.0/33' is no network in CIDR notation; write for example '10.20.0.0/16', a single address as '10.20.3.4/32'",
    ),
    (
        {"credentials": {"proxy": "http://user:secret@proxy.example:3128"}},
        "spec.credentials.proxy",
        "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'",
    ),
    (
        {"credentials": {"proxy": "http://proxy.example:3128x"}},
        "spec.credentials.proxy",
        "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'",
    ),
    (
        {"credentials": {"proxy": "http://proxy.example:65536"}},
        "spec.credentials.proxy",
        "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'",
    ),
    (
        {"credentials": {"proxy": "http://proxy.example:0"}},
        "spec.credentials.proxy",
        "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'",
    ),
    (
        {"credentials": {"proxy": "http://[1]:3128"}},
        "spec.credentials.proxy",
        "must be the URL of an HTTP proxy, without user, password and path; write for example 'http://proxy.example:3128'",
    ),
    (
        {"delivery": {"retry": {"initialDelayMilliseconds": 6000, "maxDelayMilliseconds": 5000}}},
        "spec.delivery.retry.maxDelayMilliseconds",
        "must be a whole number between 6000 and 300000, not 5000",
    ),
    ({"query": {"maxResults": 0}}, "spec.query.maxResults", "must be a whole number between 1 and 1000000, not 0"),
    ({"services": []}, "spec.services", "must not be empty; write at least one service, or leave it out for all"),
    (
        {"services": ["Storage", "Worklist"]},
        "spec.services[1]",
        "must be one of Verification, Storage, Query, Retrieve, StorageCommitment, not 'Worklist'",
    ),
    ({"peers": [{"aeTitle": "CT1"}, {"aeTitle": "CT1"}]}, "spec.peers[1].aeTitle", "'CT1' is there twice; remove one"),
    (
        {"peers": [{"aeTitle": "CT1", "host": "ct1"}]},
        "spec.peers[0]",
        "must have both `host` and `port`, or neither for a peer that is never called",
    ),
    (
        {"peers": [{"aeTitle": "CT1", "host": "http://ct1", "port": 104}]},
        "spec.peers[0].host",
        "'http://ct1' is no host; write a name or an address, without scheme and port",
    ),
    (
        {"service": {"type": "ClusterIP"}, "peers": [{"aeTitle": "CT1", "addresses": ["10.20.3.4"]}]},
        "spec.peers[0].addresses[0]",
        "'10.20.3.4' is no network in CIDR notation; write for example '10.20.0.0/16', a single address as '10.20.3.4/32'",
    ),
    (
        {"peers": [{"aeTitle": "CT1", "addresses": ["10.20.0.0/16"]}]},
        "spec.peers[0].addresses",
        "needs `service.externalTrafficPolicy` 'Local': 'Cluster' hides where a sender calls from; set it to 'Local'",
    ),
    ({"callingAETitle": "A\\B"}, "spec.callingAETitle", None),
    ({"service": []}, "spec.service", "must be an object, not []"),
    ({"podLabels": {"a": 1}}, "spec.podLabels", "must be a map of strings, not {'a': 1}"),
    ({"tolerations": "x"}, "spec.tolerations", "must be a list, not 'x'"),
]


@pytest.mark.parametrize(("spec", "path", "message"), REFUSED)
def test_what_cannot_work_is_refused_with_a_sentence(spec, path, message):
    with pytest.raises(SpecError) as refused:
        adapter(**spec)
    assert refused.value.path == path
    assert message is None or refused.value.message == message


def test_the_adapter_is_told_every_default():
    assert adapter().adapter_spec == {
        "aeTitle": "GATE",
        "acceptedAETitles": [],
        "dicomStore": STORE,
        "credentials": {"allowInsecure": False, "none": {}},
        "delivery": {
            "acknowledge": "AfterStore",
            "backlogThresholds": {"seconds": 300},
            "timeoutSeconds": 20,
            "onConflict": "Fail",
            "maxConcurrentUploads": 32,
            "retry": {
                "maxAttempts": 4,
                "initialDelayMilliseconds": 200,
                "maxDelayMilliseconds": 5000,
                "statusCodes": [408, 429, 500, 502, 503, 504],
            },
        },
        "query": {"fuzzyMatching": False},
        "services": ["Verification", "Storage", "Query", "Retrieve", "StorageCommitment"],
        "peers": [],
        "unknownPeers": "Accept",
        "limits": {
            "maxAssociations": 100,
            "maxAssociationsPerPeer": 32,
            "maxPDUBytes": 131072,
            "associationTimeoutSeconds": 30,
            "dimseTimeoutSeconds": 60,
            "idleTimeoutSeconds": 600,
        },
        "drainSeconds": 10,
        "terminationGracePeriodSeconds": 120,
        "logLevel": "Info",
    }


def test_a_spool_reaches_the_adapter_without_its_claim():
    found = adapter(
        delivery={"acknowledge": "AfterSpool", "backlogThresholds": {"seconds": 60, "instances": 5}},
        spool={"persistent": {"size": 20, "storageClassName": "fast"}, "maxBytes": 1000},
        suspend=True,
    )
    assert found.adapter_spec["spool"] == {"maxBytes": 1000}
    assert found.adapter_spec["delivery"]["backlogThresholds"] == {"seconds": 60, "instances": 5}
    assert found.claim == Claim("20", "fast")
    assert (found.spools, found.wanted_replicas) == (True, 1)
    assert adapter(suspend=True).wanted_replicas == 0


def test_peers_reach_the_adapter_with_their_defaults():
    peers: list[dict[str, Any]] = [
        {"aeTitle": "WS1", "host": "ws1", "port": 104, "allow": ["Query"]},
        {"aeTitle": "CT1", "addresses": ["10.20.0.0/16", "fd00::/8"]},
        {"aeTitle": "CT2", "host": "fd00::1", "port": 104},
    ]
    found = adapter(peers=peers, callingAETitle="OUT", unknownPeers="Reject", service={"externalTrafficPolicy": "Local"}).adapter_spec
    every = ["Verification", "Storage", "Query", "Retrieve", "StorageCommitment"]
    assert found["peers"] == [peers[0], {**peers[1], "allow": every}, {**peers[2], "allow": every}]
    assert (found["callingAETitle"], found["unknownPeers"]) == ("OUT", "Reject")
    assert adapter(query={"maxResults": 9, "fuzzyMatching": True}).adapter_spec["query"] == {"maxResults": 9, "fuzzyMatching": True}


def test_a_healthcare_store_gets_googles_credentials():
    found = adapter(dicomStore=f"{HEALTHCARE}/")
    assert found.store.text == HEALTHCARE
    assert (found.store.host, found.store.port) == ("healthcare.googleapis.com", 443)
    assert found.adapter_spec["credentials"] == {
        "allowInsecure": False,
        "googleApplicationDefault": {},
        "scopes": ["https://www.googleapis.com/auth/cloud-healthcare"],
    }
    assert found.secrets == ()


@pytest.mark.parametrize(
    ("credentials", "secrets", "config_maps"),
    [
        ({"googleKeySecret": {"name": "gcs-key"}}, ("gcs-key",), ()),
        ({"bearerTokenSecret": {"name": "t", "key": "k"}}, ("t",), ()),
        ({"basicAuthSecret": {"name": "login"}, "caBundle": {"configMap": "ca"}}, ("login",), ("ca",)),
        ({"clientCertificateSecret": {"name": "pair"}}, ("pair",), ()),
    ],
)
def test_secrets_and_config_maps_to_mount(credentials, secrets, config_maps):
    found = adapter(credentials=credentials)
    assert (found.secrets, found.config_maps) == (secrets, config_maps)


def test_the_port_of_the_store():
    assert adapter(dicomStore="http://orthanc.rad.svc:8042/dicom-web").store.port == 8042
    assert adapter(dicomStore="http://orthanc.rad.svc/dicom-web").store.port == 80


def test_source_ranges_are_written_as_networks():
    found = adapter(service={"sourceRanges": ["10.1.2.3/8", "10.9.9.9/8", "fc00::1/7"]})
    assert [str(item) for item in found.service.source_ranges] == ["10.0.0.0/8", "fc00::/7"]


def test_fields_of_a_newer_crd_are_left_alone():
    assert adapter(somethingNew={"a": 1}).ae_title == "GATE"


def test_paused_by_annotation():
    assert is_paused(body(annotations={"dicomadapter.io/reconcile": "disabled"}))
    assert not is_paused(body(annotations={"dicomadapter.io/reconcile": "enabled"}))
    assert not is_paused(body())


@pytest.mark.parametrize(
    ("prefix", "image", "allowed"),
    [
        ("", "x/y:1", False),
        ("ghcr.io/acme/", "ghcr.io/acme/anything:1", True),
        ("ghcr.io/acme", "ghcr.io/acme/anything:1", True),
        ("ghcr.io/acme", "ghcr.io/acme-evil/x:1", False),
        ("ghcr.io/acme/dicom-adapter", "ghcr.io/acme/dicom-adapter:2", True),
        ("ghcr.io/acme/dicom-adapter", "ghcr.io/acme/dicom-adapter@sha256:0", True),
        ("ghcr.io/acme/dicom-adapter", "ghcr.io/acme/dicom-adapter-evil:2", False),
        ("ghcr.io/acme/dicom-adapter:0.", "ghcr.io/acme/dicom-adapter:0.2", True),
        ("localhost:5000", "localhost:5000/x:1", True),
        ("localhost:500", "localhost:5000/x:1", False),
        ("ghcr.io/acme/", "the/own:image", True),
        ("ghcr.io/acme/", "the/own:image2", False),
    ],
)
def test_the_right_to_create_an_adapter_is_not_the_right_to_run_anything(prefix, image, allowed):
    assert Config(adapter_image="the/own:image", allowed_images=(prefix,)).image_allowed(image) is allowed
