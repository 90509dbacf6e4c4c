"""What an adapter becomes, byte for byte. A changed golden file of a Deployment means that an upgrade rolls every pod."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_operator.render.adapter import desired
from tests.unit.operator.builders import CONFIG, HEALTHCARE, SPOOL, adapter

GOLDEN = Path(__file__).parent / "golden"
FULL: dict[str, Any] = {
    "dicomStore": HEALTHCARE,
    "port": 104,
    "replicas": 3,
    "credentials": {"googleKeySecret": {"name": "gcs-key"}, "caBundle": {"configMap": "hospital-ca"}},
    "service": {
        "provider": "AWS",
        "annotations": {"example.com/team": "imaging"},
        "loadBalancerClass": "service.k8s.aws/nlb",
        "sourceRanges": ["10.20.0.0/16", "fd00::/8"],
        "ipFamilyPolicy": "RequireDualStack",
        "externalTrafficPolicy": "Local",
    },
    "image": "ghcr.io/acme/dicom-adapter:0.2.0",
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"requests": {"cpu": 1, "memory": "2Gi"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "clinical",
    "podLabels": {"team": "imaging"},
    "podAnnotations": {"example.com/a": "b"},
    "serviceAccount": {"name": "imaging", "annotations": {"iam.gke.io/gcp-service-account": "a@b"}, "labels": {"x": "y"}},
}
ROUTED: dict[str, Any] = {
    "destinations": [
        {
            "name": "archive",
            "dicomStore": "https://archive.example/dicom-web",
            "credentials": {"bearerTokenSecret": {"name": "archive-token"}},
        },
        {"name": "research", "dicomStore": HEALTHCARE, "credentials": {"caBundle": {"configMap": "hospital-ca"}}},
        {"name": "pacs", "aeTitle": "PACS", "host": "10.1.2.3", "port": 104},
    ],
    "routes": [
        {
            "match": {"callingAETitle": "MAMMO*", "attributes": [{"keyword": "Modality", "values": ["MG"]}]},
            "destinations": ["archive", "pacs"],
        },
        {"destinations": ["dicomStore"]},
    ],
    "routing": "AllMatches",
}
CASES: dict[str, dict[str, Any]] = {
    "smallest": {},
    "full": FULL,
    "routed": ROUTED,
    "suspended": {"suspend": True, "replicas": 2},
    "spool": {**SPOOL, "replicas": 2, "spool": {"persistent": {"size": "20Gi", "storageClassName": "fast"}, "maxBytes": 16_000_000_000}},
    "cluster-ip": {"service": {"type": "ClusterIP"}},
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    families = ("IPv4",) if case != "full" else ("IPv4", "IPv6")
    rendered = yaml.safe_dump_all(desired(adapter(**CASES[case]), CONFIG, families), sort_keys=True, width=1000)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert rendered == path.read_text(), "UPDATE_GOLDEN=1 writes the new one; review it as you would a release note"


def children(**spec: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(child["kind"], child["metadata"]["name"]): child for child in desired(adapter(**spec), CONFIG, ("IPv4",))}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[tuple[str, str]]:
    base, other = children(**before), children(**{**before, **after})
    return {key for key in base.keys() | other.keys() if base.get(key) != other.get(key)}


DEPLOYMENT, SERVICE, CONFIG_MAP = ("Deployment", "ct-east"), ("Service", "ct-east"), ("ConfigMap", "ct-east")


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"port": 104}, {SERVICE}),
        ({"service": {"externalTrafficPolicy": "Local"}}, {SERVICE}),
        ({"service": {"sourceRanges": ["10.20.0.0/16"]}}, {SERVICE, ("NetworkPolicy", "ct-east")}),
        ({"service": {"provider": "Azure"}}, {SERVICE}),
        ({"replicas": 2}, {DEPLOYMENT, ("PodDisruptionBudget", "ct-east")}),
        ({"suspend": True}, {DEPLOYMENT}),
        ({"aeTitle": "OTHER"}, {DEPLOYMENT, CONFIG_MAP}),
        ({"logLevel": "Debug"}, {DEPLOYMENT, CONFIG_MAP}),
        ({"image": "ghcr.io/acme/dicom-adapter:2"}, {DEPLOYMENT}),
        ({"serviceAccount": {"annotations": {"a": "b"}}}, {("ServiceAccount", "ct-east")}),
    ],
)
def test_a_change_reaches_the_objects_that_it_concerns_and_no_other(change, kinds):
    assert changed({}, change) == kinds


@pytest.mark.parametrize("change", [{"replicas": 5}, {"suspend": True}, {"port": 104}, {"service": {"type": "NodePort"}}])
def test_what_need_not_roll_the_pods_leaves_their_template_alone(change):
    templates = [children(**dict(spec))[DEPLOYMENT]["spec"]["template"] for spec in ({"port": 11112}, change)]
    assert templates[0] == templates[1]


def test_the_config_map_holds_a_document_with_what_the_adapter_reads():
    document = json.loads(children(port=104, replicas=3)[CONFIG_MAP]["data"]["dicomadapter.yaml"])
    assert document["kind"] == "DicomAdapter"
    assert document["metadata"] == {"name": "ct-east", "namespace": "rad"}
    assert sorted(document["spec"]) == [
        "acceptedAETitles", "aeTitle", "credentials", "delivery", "dicomStore", "drainSeconds", "limits", "logLevel", "peers", "query",
        "services", "terminationGracePeriodSeconds", "unknownPeers",
    ]  # fmt: skip


def test_user_labels_never_replace_ours():
    template = children(podLabels={"app.kubernetes.io/instance": "other"})[DEPLOYMENT]["spec"]["template"]
    assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == "ct-east"


def test_a_default_memory_limit_is_never_below_the_request():
    resources = children(resources={"requests": {"memory": "3Gi"}})[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi"}}


def test_a_default_request_is_never_above_the_limit():
    """The API server would refuse the Deployment for a default that nobody wrote."""
    resources = children(resources={"limits": {"memory": "128Mi", "cpu": "1"}})[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0][
        "resources"
    ]
    assert resources == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi", "cpu": "1"}}


def egress(**spec: Any) -> list[dict[str, Any]]:
    return list(children(**spec)[("NetworkPolicy", "ct-east")]["spec"]["egress"][1:])


@pytest.mark.parametrize(
    ("store", "rules"),
    [
        ("https://pacs.hospital.example/x", [{"ports": [{"port": 443, "protocol": "TCP"}]}]),
        ("http://10.1.2.3:8042/x", [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8042, "protocol": "TCP"}]}]),
        ("http://[fd00::1]/x", [{"to": [{"ipBlock": {"cidr": "fd00::1/128"}}], "ports": [{"port": 80, "protocol": "TCP"}]}]),
        (
            "http://orthanc.pacs.svc/x",
            [
                {"ports": [{"port": 80, "protocol": "TCP"}]},
                {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "pacs"}}}]},
            ],
        ),
        (
            "http://orthanc/x",
            [
                {"ports": [{"port": 80, "protocol": "TCP"}]},
                {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "rad"}}}]},
            ],
        ),
    ],
)
def test_the_way_to_the_store_is_open_and_little_else(store, rules):
    assert egress(dicomStore=store) == rules


def test_googles_credentials_need_the_metadata_server():
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 988, "protocol": "TCP"}]
    assert {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": ports} in egress(dicomStore=HEALTHCARE)
