"""helm install, kubectl apply, dcmsend, QIDO: what the product is for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid

import pytest

from tests.pods.conftest import ROOT, STORE, Adapters, create_namespace, send_to, stored_file
from tests.support import dicom
from tests.support.kubernetes import Kubectl


@pytest.mark.parametrize("sample", dicom.SAMPLES)
def test_a_sender_s_data_set_arrives_byte_for_byte(adapters_shared, sample, tmp_path):
    instance = dicom.instance(dicom.write_sample(sample, tmp_path))
    assert send_to(adapters_shared, instance) == [(0x0000, "")]
    assert_stored(instance)


def test_a_private_sop_class_arrives_byte_for_byte(adapters_shared):
    instance = dicom.generated(100_001)
    assert send_to(adapters_shared, instance) == [(0x0000, "")]
    assert_stored(instance)


def test_dcmsend_through_the_load_balancer_address_is_found_by_qido(adapters_shared, tmp_path):
    files = dicom.write_samples(tmp_path, ["CT", "MR", "JPEG baseline", "JPEG 2000", "RLE"])
    status = adapters_shared["status"]
    sent = subprocess.run(
        [
            "dcmsend",
            "--verbose",
            status["address"],
            str(status["port"]),
            *map(str, files),
            "-aec",
            "GATE",
            "+crf",
            str(tmp_path / "report"),
        ],
        env=os.environ | {"TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
    )
    assert sent.returncode == 0, sent.stderr
    assert "with status SUCCESS  : 5" in sent.stdout + sent.stderr
    for file in files:
        with urllib.request.urlopen(f"{STORE}/instances?SOPInstanceUID={dicom.instance(file).sop_instance_uid}") as answer:
            assert [item["00080018"]["Value"] for item in json.load(answer)] == [[dicom.instance(file).sop_instance_uid]]


def test_the_endpoint_in_the_status_is_what_a_modality_is_given(adapters_shared):
    status = adapters_shared["status"]
    assert status["endpoint"] == f"GATE@{status['address']}:2575"
    assert status["address"].startswith("10.10.0.")


def test_the_demo_succeeds_and_shows_each_command(kubectl, operator):
    """Its part inside the cluster; the operator that it installs is the one that is already there."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--namespace", operator], cwd=ROOT, capture_output=True, text=True, timeout=250
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        for command in (
            "helm upgrade --install",
            "kubectl apply -f examples/dicomadapter.yaml",
            "kubectl wait",
            "dcmsend --verbose",
            "curl",
        ):
            assert f"$ {command}" in done.stdout
        assert done.stdout.count("found: ") == 5
    finally:
        subprocess.run(
            ["kubectl", "delete", "--namespace=default", "-f", "examples/dicomadapter.yaml"], cwd=ROOT, check=True, capture_output=True
        )


def assert_stored(instance: dicom.Instance) -> None:
    """The store holds exactly this data set, under a file meta information that describes it."""
    stored = stored_file(instance.sop_instance_uid)
    assert stored is not None, "not in the store"
    meta, data_set = dicom.split(stored)
    assert data_set == instance.data_set
    assert meta.TransferSyntaxUID == instance.transfer_syntax_uid
    assert meta.MediaStorageSOPClassUID == instance.sop_class_uid


@pytest.fixture(scope="module")
def adapters_shared(operator):
    """One adapter for the tests of this module, in a namespace of its own."""
    name = f"main-job-{uuid.uuid4().hex[:8]}"
    create_namespace(name)
    yield Adapters(Kubectl(name)).apply()
    Kubectl("default")("delete", "namespace", name, "--wait=false")
