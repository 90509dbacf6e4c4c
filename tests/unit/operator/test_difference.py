"""Whether a live object has what we declare: the API server's defaults and others' fields do not count."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_operator.difference import difference, foreign_ports, with_ports
from dicom_operator.quantity import parse_quantity, same_quantity

CONTAINER = {"name": "adapter", "image": "a", "env": [{"name": "A", "value": "1"}]}
SIDECAR = {"name": "istio-proxy", "image": "b"}


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b"),
        ({"a": {"b": 1}}, {"a": 5}, "a"),
        ({"a": False}, {}, "a"),
        ({"a": 0}, {}, "a"),
        ({"a": 1}, {"a": True}, "a"),
        ({"a": "", "b": {}, "c": [], "d": None}, {}, None),
        ({"a": "x"}, {}, "a"),
        ({"a": {"x.y/z": "1"}}, {"a": {}}, "a[x.y/z]"),
        ({"containers": [CONTAINER]}, {"containers": [SIDECAR, {**CONTAINER, "terminationMessagePath": "/dev"}]}, None),
        ({"containers": [CONTAINER]}, {"containers": [SIDECAR]}, "containers[adapter]"),
        ({"containers": [CONTAINER]}, {"containers": [{**CONTAINER, "image": "x"}]}, "containers[adapter].image"),
        ({"containers": [CONTAINER]}, {"containers": [{**CONTAINER, "env": []}]}, "containers[adapter].env[A]"),
        (
            {"ports": [{"port": 1, "protocol": "TCP", "targetPort": "x"}]},
            {"ports": [{"port": 1, "protocol": "TCP", "targetPort": "x", "nodePort": 3}]},
            None,
        ),
        ({"ports": [{"port": 1, "protocol": "TCP", "targetPort": "x"}]}, {"ports": [{"port": 2, "protocol": "TCP"}]}, "ports[1,TCP]"),
        (
            {"ports": [{"port": 1, "protocol": "TCP", "targetPort": "x"}]},
            {"ports": [{"port": 1, "protocol": "TCP", "targetPort": "x"}, {"port": 2, "protocol": "TCP", "targetPort": "x"}]},
            "ports",
        ),
        ({"ports": [{"containerPort": 1, "protocol": "TCP"}]}, {"ports": [{"containerPort": 1, "protocol": "TCP", "name": "x"}]}, None),
        ({"list": [{"ports": [{"port": 1}]}]}, {"list": [{"ports": [{"port": 1, "protocol": "TCP"}]}]}, None),
        ({"ingress": [{"a": 1}]}, {"ingress": [{"a": 1}, {"b": 1}]}, "ingress"),
        ({"ranges": ["a"]}, {"ranges": ["b"]}, "ranges[0]"),
        ({"ranges": ["a"]}, {"ranges": "a"}, "ranges"),
        ({"requests": {"cpu": "0.5", "memory": "1024Mi"}}, {"requests": {"cpu": "500m", "memory": "1Gi"}}, None),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}, "limits.memory"),
        ({"selector": {"a": "1"}}, {"selector": {"a": "1"}}, None),
        ({"labelSelector": {"matchLabels": {"a": ""}, "matchExpressions": []}}, {"labelSelector": {"matchLabels": {"a": ""}}}, None),
        ({"ingress": [{"from": [{"ipBlock": 1}]}]}, {"ingress": [{"from": [{"ipBlock": 1}, {}]}]}, "ingress"),
        ({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}, "selector"),
        ({"podSelector": {"matchLabels": {"a": "1"}}}, {"podSelector": {"matchLabels": {"a": "1", "b": "2"}}}, "podSelector"),
        ({"egress": [{"ports": [{"port": 53}]}]}, {"egress": [{"ports": [{"port": 53, "endPort": 65535}]}]}, "egress"),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"a": "1", "b": "2"}}, "nodeSelector"),
    ],
)
def test_only_what_is_declared_counts(desired, live, path):
    assert difference(desired, live) == path


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("500m", 0.5), ("1Gi", 2**30), ("1.5k", 1500), ("2e3", 2000), ("100n", 1e-7), (".5", 0.5), ("3E", 3e18), ("-1Ki", -1024)],
)
def test_quantities(text, value):
    assert float(parse_quantity(text)) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1GiB", "1e", "x"])
def test_what_is_no_quantity(text):
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)
    assert not same_quantity(text, text)


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": list(ports)}}


WANTED = service({"name": "dicom", "port": 104, "protocol": "TCP", "targetPort": "dicom"})


@pytest.mark.parametrize(
    ("live", "foreign"),
    [
        (service({"name": "dicom", "port": 104, "protocol": "TCP", "nodePort": 30104}), False),
        (service({"name": "dicom", "port": 104}), False),  # TCP is the default
        (service({"name": "dicom", "port": 1, "protocol": "TCP"}), True),
        (service({"name": "dicom", "port": 104, "protocol": "TCP"}, {"name": "web", "port": 80, "protocol": "TCP"}), True),
        (service(), False),
    ],
)
def test_ports_that_somebody_has_put_into_a_service(live, foreign):
    assert foreign_ports(WANTED, live) == foreign
    assert not foreign_ports({**WANTED, "kind": "Deployment"}, live)


def test_a_port_that_is_put_back_keeps_its_node_port():
    live = service({"name": "web", "port": 80, "nodePort": 30080}, {"name": "dicom", "port": 1, "protocol": "TCP", "nodePort": 30104})
    assert with_ports(WANTED, live) == service({"name": "dicom", "port": 104, "protocol": "TCP", "targetPort": "dicom", "nodePort": 30104})
    assert live["spec"]["ports"][0]["name"] == "web"  # what was seen is not changed
