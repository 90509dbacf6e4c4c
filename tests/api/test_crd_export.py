"""The CRD of DicomExports on a real API server: what it refuses and says, what it stores, what kubectl shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.test_crd import cells, dry_run, fields
from tests.support.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "dicomexports.dicomadapter.io.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
REFUSALS = yaml.safe_load(Path(__file__).with_name("test_crd_export_refusals.yaml").read_text())


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> Iterator[ApiServer]:
    """An API server that serves DicomExports; none of them is left for other tests."""
    yield api_server
    api_server.kubectl("delete", "dicomexports", "--all", "--all-namespaces")


def document(name: str = "to-pacs", **spec: Any) -> str:
    """A good document with `spec` laid over it; None takes a field away."""
    source = {"dicomStore": "https://pacs.example/dicom-web", "pubsub": {"subscription": "projects/p/subscriptions/to-pacs"}}
    merged = {"source": source, "destination": {"peer": {"aeTitle": "PACS", "host": "10.1.2.3", "port": 104}}, **spec}
    merged = {field: value for field, value in merged.items() if value is not None}
    return json.dumps({"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomExport", "metadata": {"name": name}, "spec": merged})


@pytest.mark.parametrize("row", REFUSALS, ids=[row["case"] for row in REFUSALS])
def test_a_bad_document_is_refused_with_a_sentence_that_says_what_to_write(server, row):
    done = dry_run(server, document(row.get("name", "to-pacs"), **row["spec"]))
    assert done.returncode == 1, "it was accepted"
    assert " ".join(done.stderr.split()) == row["says"]


def test_every_rule_has_a_document_that_it_refuses():
    said = " ".join(row["says"] for row in REFUSALS)
    messages = {rule["message"] for _, field in fields(SCHEMA) for rule in field.get("x-kubernetes-validations", ())}
    assert {message for message in messages if message not in said} == set()


@pytest.mark.parametrize(
    "spec",
    [
        {"source": {"dicomStore": "http://orthanc:8042/dicom-web", "poll": {}}, "ledger": {"persistentVolumeClaim": "exported"}},
        {"destination": {"peer": {"aeTitle": "A", "host": "fd00::1", "port": 65535}}, "replicas": 32},
        {"destination": {"dicomweb": {"url": "http://archive.example/", "credentials": {"none": {}}}}},
        {"filter": {"attributes": [{"keyword": "00080060", "values": ["*"]}]}, "grouping": "Study", "settleSeconds": 300},
        {"replicas": 0, "suspend": True, "terminationGracePeriodSeconds": 20},
    ],
    ids=json.dumps,
)
def test_a_good_document_is_accepted(server, spec):
    dry_run(server, document(**spec), check=True)


def test_what_is_left_out_is_stored_with_its_default(server):
    stored = json.loads(dry_run(server, document(), check=True).stdout)["spec"]
    assert stored == {
        "source": {
            "dicomStore": "https://pacs.example/dicom-web",
            "credentials": {"allowInsecure": False},
            "pubsub": {
                "subscription": "projects/p/subscriptions/to-pacs",
                "endpoint": "https://pubsub.googleapis.com",
                "allowInsecure": False,
            },
        },
        "destination": {"peer": {"aeTitle": "PACS", "host": "10.1.2.3", "port": 104}},
        "callingAETitle": "EXPORTADAPTER",
        "grouping": "Instance",
        "settleSeconds": 30,
        "transcode": "WhenRefused",
        "delivery": {"maxDeliveryAttempts": 5, "maxOutstanding": 256, "maxConcurrentFetches": 32, "maxAssociations": 2},
        "terminationGracePeriodSeconds": 120,
        "logLevel": "Info",
        "replicas": 1,
        "suspend": False,
    }


def test_kubectl_get_tells_the_truth_about_each_in_one_line(server):
    server.kubectl("create", "namespace", "exports")
    server.kubectl("apply", "--namespace=exports", "--filename=-", input=document())
    since = "2026-11-25T12:00:00Z"
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Available", "message": "it works", "lastTransitionTime": since},
        {"type": "DestinationReachable", "status": "False", "reason": "Refused", "message": "nobody listens", "lastTransitionTime": since},
    ]
    found = json.dumps({"status": {"conditions": conditions, "destination": "PACS@10.1.2.3:104", "exported": 1200, "waiting": 0}})
    server.kubectl("patch", "dex", "to-pacs", "--namespace=exports", "--subresource=status", "--type=merge", f"--patch={found}")
    head, row = cells(server, "dex", "--namespace=exports")
    assert head == ["NAME", "DESTINATION", "READY", "REASON", "PEER", "EXPORTED", "WAITING", "AGE"]
    assert row[:-1] == ["to-pacs", "PACS@10.1.2.3:104", "True", "Available", "Refused", "1200", "0"]


def test_scale_sets_the_replicas(server):
    server.kubectl("apply", "--filename=-", input=document("scaled"))
    server.kubectl("scale", "dicomexport/scaled", "--replicas=3")
    assert json.loads(server.kubectl("get", "dex", "scaled", "--output=json").stdout)["spec"]["replicas"] == 3


def test_explain_is_the_manual_of_every_section(server):
    for section in ("", ".source", ".source.pubsub", ".destination.peer", ".delivery", ".ledger"):
        shown = " ".join(server.kubectl("explain", f"dicomexport.spec{section}").stdout.split())
        at = dict(fields(SCHEMA))[f".spec{section}"]
        for name, part in at["properties"].items():
            assert " ".join(part["description"].split()) in shown, f"{section}: {name}"
