"""Flags in Google's spelling and in ours."""

from __future__ import annotations

import pytest

from dicom_adapter.config import ConfigError
from dicom_adapter.flags import FLAGS, scan, usage
from dicom_adapter.google_flags import overrides


def test_both_spellings_of_a_value_and_bare_switches() -> None:
    found = scan(["--dimse_aet=GATE", "--dimse_port", "104", "--verbose", "--dicomweb_address", "http://pacs/dicom-web/"])
    assert found.errors == []
    errors: list[ConfigError] = []
    assert overrides(found.values, errors) == {
        "spec.aeTitle": "GATE",
        "spec.port": 104,
        "spec.dicomStore": "http://pacs/dicom-web",
        "spec.logLevel": "Debug",
    }
    assert errors == []


def test_scopes_are_separated_by_commas_and_empty_values_are_not_set() -> None:
    assert overrides({"--oauth_scopes": "a, b,", "--dimse_aet": "", "--verbose": "false"}, []) == {"spec.credentials.scopes": ["a", "b"]}


def test_the_last_value_of_a_flag_counts() -> None:
    assert scan(["--dimse_port=1", "--dimse_port=2"]).values == {"--dimse_port": "2"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dimse_prt=1"], ["--dimse_prt: is not a flag of this version; did you mean '--dimse_port'?"]),
        (["--stow_http2"], ["--stow_http2: is not a flag of this version; dicom-adapter import --help lists them"]),
        (
            ["--aet_dictionary", "/x", "--verbose"],
            ["--aet_dictionary: is not a flag of this version; dicom-adapter import --help lists them"],
        ),
        (["--dimse_port", "--verbose"], ["--dimse_port: has no value; write --dimse_port=PORT"]),
        (["--verbose=1"], ["--verbose: is a switch and takes no value; write --verbose alone"]),
        (["what"], ["what: is not a flag; every argument of import begins with --"]),
    ],
)
def test_wrong_flags(arguments: list[str], expected: list[str]) -> None:
    assert [str(error) for error in scan(arguments).errors] == expected


@pytest.mark.parametrize("value", ["0", "65536", "-1", "1e3", "", " 104", "٤", "9" * 99])
def test_a_port_is_a_number(value: str) -> None:
    errors: list[ConfigError] = []
    overrides({"--dimse_port": value}, errors)
    assert len(errors) == (1 if value else 0)


def test_help_names_every_flag() -> None:
    assert all(flag.name in usage() and flag.help.split()[0] in usage() for flag in FLAGS)
