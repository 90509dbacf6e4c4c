"""The CRD on a real API server: what it refuses and says, what it stores, what kubectl shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "dicomadapters.dicomadapter.io.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
REFUSALS = yaml.safe_load(Path(__file__).with_name("test_crd_refusals.yaml").read_text())
HEALTHCARE = "projects/my-project/locations/europe-west4/datasets/d/dicomStores/s"


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> Iterator[ApiServer]:
    """An API server that serves DicomAdapters; none of them is left for other tests."""
    yield api_server
    api_server.kubectl("delete", "dicomadapters", "--all", "--all-namespaces")


def document(name: str = "ct-east", **spec: Any) -> str:
    """A good document with `spec` laid over it; None takes a field away."""
    merged = {"aeTitle": "IMPORTADAPTER", "dicomStore": "https://pacs.example/dicom-web", **spec}
    merged = {field: value for field, value in merged.items() if value is not None}
    return json.dumps({"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "metadata": {"name": name}, "spec": merged})


def dry_run(server: ApiServer, text: str, *, check: bool = False):
    """`kubectl apply`, as strict as it is by default, on the server but without storing."""
    return server.kubectl("apply", "--dry-run=server", "--validate=strict", "--output=json", "--filename=-", input=text, check=check)


@pytest.mark.parametrize("row", REFUSALS, ids=[row["case"] for row in REFUSALS])
def test_a_bad_document_is_refused_with_a_sentence_that_says_what_to_write(server, row):
    done = dry_run(server, document(row.get("name", "ct-east"), **row.get("spec", {})))
    assert done.returncode == 1, "it was accepted"
    assert " ".join(done.stderr.split()) == row["says"]


def test_every_rule_has_a_document_that_it_refuses():
    said = " ".join(row["says"] for row in REFUSALS)
    rules = [rule for _, field in fields(SCHEMA) for rule in field.get("x-kubernetes-validations", ())]
    messages = {rule["message"] for rule in rules if "oldSelf" not in rule["rule"]}
    assert {message for message in messages if message not in said} == set()


@pytest.mark.parametrize(
    "store",
    [
        HEALTHCARE,
        f"{HEALTHCARE}/",
        "projects/example.com:my-project/locations/us/datasets/d_1.x/dicomStores/S-1",
        f"https://healthcare.googleapis.com/v1/{HEALTHCARE}/dicomWeb",
        f"https://healthcare.googleapis.com/v1beta1/{HEALTHCARE}/dicomWeb/",
        "http://orthanc.test:8042/dicom-web",
        "https://pacs.example",
        "https://pacs.example/",
        "https://pacs.example:8443/a%20b/studies-archive",
        "http://10.1.2.3:8042/dicom-web/",
        "http://[fd00::1]:8042/dicom-web",
        "https://healthcare.googleapis.com.example/dicom-web",
        "https://pacs.example/tenant@hospital/dicom-web",
    ],
)
def test_a_store_that_exists_somewhere_is_accepted(server, store):
    assert json.loads(dry_run(server, document(dicomStore=store), check=True).stdout)["spec"]["dicomStore"] == store


@pytest.mark.parametrize(
    "spec",
    [
        {"aeTitle": "A"},
        {"aeTitle": "CT 1 [EAST]^{~}!", "acceptedAETitles": ["a", "B" * 16]},
        {"port": 1},
        {"port": 65535},
        {"credentials": {"googleApplicationDefault": {}, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}},
        {"credentials": {"bearerTokenSecret": {"name": "a"}, "allowInsecure": True}, "dicomStore": "http://pacs.example"},
        {"credentials": {"none": {}}, "dicomStore": "http://pacs.example"},
        {"drainSeconds": 0, "terminationGracePeriodSeconds": 10},
        {"drainSeconds": 600, "terminationGracePeriodSeconds": 610},
        {"replicas": 0, "suspend": True},
        {"service": {"type": "ClusterIP"}},
        {"service": {"sourceRanges": ["0.0.0.0/0", "::/0"], "allowPublicAddress": True, "externalTrafficPolicy": "Local"}},
        {"resources": {"requests": {"cpu": 1, "memory": "1.5Gi", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "2.5"}}},
        {"tolerations": [{"operator": "Exists"}]},
        {"image": "registry.example:5000/dicom-adapter@sha256:" + "0" * 64},
    ],
    ids=json.dumps,
)
def test_a_good_document_is_accepted(server, spec):
    dry_run(server, document(**spec), check=True)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_accepted(server, example):
    for text in example.read_text().split("\n---\n"):
        resource = yaml.safe_load(text)
        resource["metadata"].pop("namespace", None)
        dry_run(server, json.dumps(resource), check=True)


def test_what_is_left_out_is_stored_with_its_default(server):
    assert json.loads(dry_run(server, document(), check=True).stdout)["spec"] == {
        "aeTitle": "IMPORTADAPTER",
        "dicomStore": "https://pacs.example/dicom-web",
        "port": 11112,
        "credentials": {"allowInsecure": False},
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
        "routing": "FirstMatch",
        "replicas": 1,
        "suspend": False,
        "service": {
            "type": "LoadBalancer",
            "provider": "Auto",
            "sourceRanges": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"],
            "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Cluster",
            "allowPublicAddress": False,
        },
    }


def test_a_part_of_a_section_leaves_the_defaults_of_the_rest(server):
    spec: dict[str, Any] = {
        "credentials": {"googleKeySecret": {"name": "gcs-key"}, "caBundle": {"configMap": "ca"}},
        "limits": {"maxPDUBytes": 65536},
        "service": {"provider": "AWS"},
    }
    stored = json.loads(dry_run(server, document(**spec), check=True).stdout)["spec"]
    assert stored["credentials"]["googleKeySecret"] == {"name": "gcs-key", "key": "key.json"}
    assert stored["credentials"]["caBundle"] == {"configMap": "ca", "key": "ca.crt"}
    assert stored["limits"]["maxPDUBytes"] == 65536
    assert stored["limits"]["maxAssociations"] == 100
    assert stored["service"]["provider"] == "AWS"
    assert stored["service"]["type"] == "LoadBalancer"


def test_own_source_ranges_replace_the_default_under_server_side_apply(server):
    for ranges in (None, ["10.20.0.0/16"]):
        text = document("ranges", **({"service": {"sourceRanges": ranges}} if ranges else {}))
        server.kubectl("apply", "--server-side", "--field-manager=test", "--filename=-", input=text)
    assert get(server, "ranges")["spec"]["service"]["sourceRanges"] == ["10.20.0.0/16"]


@pytest.mark.parametrize(("before", "after"), [({}, "a.example/b"), ("a.example/b", {}), ("a.example/b", "c.example/d")], ids=str)
def test_the_load_balancer_class_does_not_change_while_it_is_one(server, before, after):
    def applied(kind: str, value: Any):
        service = {"type": kind, **({"loadBalancerClass": value} if value else {})}
        return server.kubectl("apply", "--filename=-", input=document("lb", service=service), check=False)

    server.kubectl("delete", "dicomadapter", "lb", "--ignore-not-found")
    assert applied("LoadBalancer", before).returncode == 0
    refused = "loadBalancerClass: Forbidden: `loadBalancerClass` must not be added, changed or removed while `type` is 'LoadBalancer'"
    assert refused in applied("LoadBalancer", after).stderr
    assert applied("ClusterIP", {}).returncode == 0
    assert applied("LoadBalancer", after).returncode == 0


VOLUME = {"size": "20Gi", "storageClassName": "fast"}


@pytest.mark.parametrize("after", [{}, {"persistent": {"size": "20Gi"}}, {"persistent": {**VOLUME, "size": "40Gi"}}], ids=str)
def test_the_volume_of_a_spool_does_not_change(server, after):
    """The claims were made from it, and may hold images."""
    server.kubectl("apply", "--filename=-", input=document("volume", spool={"persistent": VOLUME}))
    refused = "spec.spool: Forbidden: `spool.persistent` must not be changed or removed"
    found = server.kubectl("apply", "--filename=-", input=document("volume", spool=after), check=False)
    assert refused in found.stderr
    server.kubectl("apply", "--filename=-", input=document("volume", spool={"persistent": VOLUME, "maxBytes": 1000}))


def test_scale_sets_the_replicas_and_names_the_pods(server):
    server.kubectl("apply", "--filename=-", input=document("scaled"))
    write_status(server, "scaled", {"replicas": 1, "selector": "a=b"})
    server.kubectl("scale", "dicomadapter/scaled", "--replicas=3")
    path = "/apis/dicomadapter.io/v1alpha1/namespaces/default/dicomadapters/scaled/scale"
    scale = json.loads(server.kubectl("get", "--raw", path).stdout)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 1, "selector": "a=b"}
    assert get(server, "scaled")["spec"]["replicas"] == 3


def test_the_status_is_written_apart_from_the_spec(server):
    server.kubectl("apply", "--filename=-", input=document("parted"))
    patch = json.dumps({"spec": {"port": 104}, "status": {"address": "10.8.0.4"}})
    server.kubectl("patch", "dicomadapter", "parted", "--subresource=status", "--type=merge", "--patch", patch)
    stored = get(server, "parted")
    assert (stored["spec"]["port"], stored["status"]["address"], stored["metadata"]["generation"]) == (11112, "10.8.0.4", 1)
    server.kubectl("patch", "dicomadapter", "parted", "--type=merge", "--patch", patch.replace("10.8.0.4", "10.8.0.5"))
    stored = get(server, "parted")
    assert (stored["spec"]["port"], stored["status"]["address"], stored["metadata"]["generation"]) == (104, "10.8.0.4", 2)


def test_kubectl_get_tells_the_truth_about_each_in_one_line(server):
    server.kubectl("create", "namespace", "columns")
    server.kubectl("apply", "--namespace=columns", "--filename=-", input=document("ct-east", port=2575))
    since = "2026-11-23T12:00:00Z"
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Available", "message": "images can be sent", "lastTransitionTime": since},
        {"type": "StoreReachable", "status": "False", "reason": "Unauthorized", "message": "403", "lastTransitionTime": since},
    ]
    write_status(server, "ct-east", {"conditions": conditions, "address": "10.8.0.4", "replicasSummary": "2/2"}, "--namespace=columns")
    named = server.kubectl("get", "dicom", "--namespace=columns", "--output=name").stdout  # the category: of every kind of ours
    assert named.split() == ["dicomadapter.dicomadapter.io/ct-east"]
    head, row = cells(server, "dcm", "--namespace=columns")
    assert head == ["NAME", "AE TITLE", "READY", "REASON", "STORE", "ADDRESS", "REPLICAS", "AGE"]
    assert row[:-1] == ["ct-east", "IMPORTADAPTER", "True", "Available", "Unauthorized", "10.8.0.4", "2/2"]
    head, row = cells(server, "dcm", "--namespace=columns", "--output=wide")
    assert head[-3:] == ["DICOM STORE", "MESSAGE", "STORE MESSAGE"]
    assert row[-3:] == ["https://pacs.example/dicom-web", "images can be sent", "403"]


def test_adapters_are_found_by_ae_title(server):
    for name, title in (("one", "FIRST"), ("two", "SECOND")):
        server.kubectl("apply", "--filename=-", input=document(name, aeTitle=title))
    found = server.kubectl("get", "dcm", "--field-selector=spec.aeTitle=SECOND", "--output=name").stdout
    assert found.split() == ["dicomadapter.dicomadapter.io/two"]


def test_explain_is_the_manual_of_every_field(server):
    for path, field in fields(SCHEMA):
        if not path.startswith((".spec", ".status")) or "properties" not in field:
            continue
        shown = " ".join(server.kubectl("explain", f"dicomadapter{path}".replace("[]", "")).stdout.split())
        for name, part in {path: field, **field["properties"]}.items():
            assert " ".join(part["description"].split()) in shown, f"{path}: {name}"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of the schema with its path; items of lists are `path[]`."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def write_status(server: ApiServer, name: str, status: dict[str, Any], *arguments: str) -> None:
    """Writes the status, as the operator does."""
    patch = json.dumps({"status": status})
    server.kubectl("patch", "dicomadapter", name, "--subresource=status", "--type=merge", f"--patch={patch}", *arguments)


def get(server: ApiServer, name: str) -> dict[str, Any]:
    """The stored resource."""
    stored: dict[str, Any] = json.loads(server.kubectl("get", "dicomadapter", name, "--output=json").stdout)
    return stored


def cells(server: ApiServer, *arguments: str) -> list[list[str]]:
    """The table that `kubectl get` prints, by columns of the header."""
    lines = server.kubectl("get", *arguments).stdout.splitlines()
    starts = [i for i, letter in enumerate(lines[0]) if letter != " " and (i == 0 or lines[0][:i].endswith("  "))]
    return [[line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
