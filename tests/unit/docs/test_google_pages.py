"""docs/google-cloud.md and docs/migrating.md promise what the code does: flags, fields, resources, and the words to search for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_adapter import document, flags
from dicom_adapter.delivery.verdict import comment, http_text
from dicom_adapter.dicomweb.answers import Problem
from dicom_adapter.google_flags import GOOGLE_FLAGS, IDLE_FLAGS
from tests.support.healthcare import NOT_ENABLED, SCOPES_INSUFFICIENT, WRITE, denied

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "google-cloud.md").read_text()
MIGRATING = (ROOT / "docs" / "migrating.md").read_text()
IMPORT_FLAGS = (
    "aet_dictionary", "aet_dictionary_inline", "auto_ack_cstore", "destination_config_inline", "destination_config_path", "dicomweb_addr",
    "dicomweb_address", "dicomweb_stow_path", "dimse_aet", "dimse_cmove_aet", "dimse_port", "fuzzy_matching", "gcs_backup_project_id",
    "http_error_codes_to_retry", "max_waiting_time_between_uploads", "min_upload_delay", "monitoring_project_id", "oauth_scopes",
    "persistent_file_storage_location", "persistent_file_upload_retry_amount", "redact_filter_profile", "redact_keep_list",
    "redact_remove_list", "send_to_all_matching_destinations", "store_compress_to_transfer_syntax", "stow_http2", "stow_overwrite",
    "verbose",
)  # fmt: skip
"""Those of Google's import adapter, all of them."""


def rows() -> dict[str, str]:
    """The table of flags: `same`, `changed`, `no effect` or `not yet` by flag."""
    section = MIGRATING.partition("\n## Every flag\n")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (`--.+?) \| (same|changed|no effect|not yet) \| .+ \|$", section, re.MULTILINE)
    return {flag: state for cell, state in table for flag in re.findall(r"`--(\w+)`", cell)}


def test_every_flag_of_googles_import_adapter_is_in_the_table():
    assert sorted(rows()) == sorted(IMPORT_FLAGS)


def test_what_the_table_calls_the_same_is_what_is_taken():
    taken = {f"--{flag}" for flag, state in rows().items() if state == "same"}
    assert taken == {flag.name for flag in GOOGLE_FLAGS}, "docs/migrating.md and google_flags.py differ: correct the table"
    idle = {f"--{flag}" for flag, state in rows().items() if state == "no effect"}
    assert idle == {flag.name for flag in IDLE_FLAGS}


@pytest.mark.parametrize("flag", [flag for flag, state in rows().items() if state in ("changed", "not yet")])
def test_what_is_not_taken_is_refused_by_name(flag):
    (error,) = flags.scan([f"--{flag}", "x"]).errors
    assert error.path == f"--{flag}"


def fields(schema: dict[str, Any], path: str = "") -> set[str]:
    found = set[str]()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{path}{name}"} | fields(inner, f"{path}{name}.")
    return found


def test_every_field_that_the_pages_name_exists():
    crd = yaml.safe_load((ROOT / "crds" / "dicomadapters.dicomadapter.io.yaml").read_text())
    known = fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    groups = "|".join(sorted({name.partition(".")[0] for name in known if "." in name}))
    named = set(re.findall(rf"`((?:{groups})\.[A-Za-z.]+)(?::[^`]*)?`", GUIDE + MIGRATING))
    assert {"service.sourceRanges", "delivery.maxRequestsPerMinute", "credentials.googleKeySecret", "delivery.onConflict"} <= named
    assert named <= known


@pytest.mark.parametrize("page", [GUIDE, MIGRATING], ids=["google-cloud", "migrating"])
def test_the_resource_of_the_page_is_one(page):
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    config = document.load(text, {}, aliases={})
    assert config.store.healthcare_path == "projects/my-project/locations/europe-west4/datasets/my-dataset/dicomStores/my-store"
    if page is GUIDE:
        example = yaml.safe_load((ROOT / "examples" / "google-cloud.yaml").read_text())
        shown = yaml.safe_load(text)
        assert shown["metadata"] == example["metadata"]
        assert shown["spec"] == {name: example["spec"][name] for name in shown["spec"]}


def test_the_comments_to_search_for_are_those_that_a_sender_gets():
    for text in (NOT_ENABLED, SCOPES_INSUFFICIENT, denied(WRITE, "projects/p/locations/l/datasets/d/dicomStores/s")):
        assert f"| `LO [{comment(http_text(403, Problem('PERMISSION_DENIED', text)))}]` |" in GUIDE
