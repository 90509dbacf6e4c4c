"""Flags in Google's spelling and in ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.config import ConfigError, ConfigErrors
from dicom_adapter.document import load
from dicom_adapter.flags import FLAGS, scan, usage
from dicom_adapter.google_flags import aliases, from_environment, notices, overrides

SHAPE = '[{"filter": "Modality=MG&AETitle=CT1", "dicomweb_destination": URL}], or name, host and port instead of dicomweb_destination'


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


def test_retries_and_conflicts_in_googles_spelling() -> None:
    delays = ["--min_upload_delay=100", "--max_waiting_time_between_uploads", "9000"]
    found = scan(["--stow_overwrite", "--persistent_file_upload_retry_amount=5", *delays, "--http_error_codes_to_retry=409, 418"])
    errors: list[ConfigError] = []
    assert overrides(found.values, errors) == {
        "spec.delivery.onConflict": "Overwrite",
        "spec.delivery.retry.maxAttempts": 6,
        "spec.delivery.retry.initialDelayMilliseconds": 100,
        "spec.delivery.retry.maxDelayMilliseconds": 9000,
        "spec.delivery.retry.statusCodes": [408, 409, 418, 429, 500, 502, 503, 504],
    }
    assert found.errors == errors == []
    assert overrides({"--http_error_codes_to_retry": "[]", "--stow_overwrite": "false"}, []) == {
        "spec.delivery.retry.statusCodes": [408, 429, 500, 502, 503, 504]
    }


WORKSTATION = [{"aeTitle": "WS1", "host": "ws1.example", "port": 104}]


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "WS1", "host": "ws1.example", "port": 104}]',
        "[{'name': 'WS1', host: ws1.example, 'port': '104',},]",
        '[\n\t{\n\t\t"name":"WS1",\n\t\t"host":"ws1.example",\n\t\t"port":104\n\t}\n]',
        '[{"name": "WS1", "host": "ws1.example", "port": 104, "comment": "next to the coffee machine"}]',
    ],
)
def test_an_ae_dictionary_is_read_as_leniently_as_googles_adapter_reads_it(text: str, tmp_path: Path) -> None:
    errors: list[ConfigError] = []
    assert overrides({"--aet_dictionary_inline": text}, errors) == {"spec.peers": WORKSTATION}
    file = tmp_path / "aets.json"
    file.write_text(text)
    assert overrides({"--aet_dictionary": str(file)}, errors) == {"spec.peers": WORKSTATION}
    assert overrides({"--aet_dictionary": str(file), "--aet_dictionary_inline": "[]"}, errors) == {"spec.peers": []}
    assert environment(errors, ENV_AETS_JSON=text) == {"spec.peers": WORKSTATION}
    assert environment(errors) == {}
    assert errors == []


def test_fuzzy_matching_and_the_calling_title() -> None:
    found = scan(["--fuzzy_matching", "--dimse_cmove_aet=OUT"])
    assert found.errors == []
    assert overrides(found.values, []) == {"spec.query.fuzzyMatching": True, "spec.callingAETitle": "OUT"}
    assert overrides({"--fuzzy_matching": "false"}, []) == {}


def test_errors_name_the_flag_that_was_given() -> None:
    assert aliases({"--aet_dictionary": "x"})["spec.peers"] == "--aet_dictionary"
    assert aliases({"--aet_dictionary": "x", "--aet_dictionary_inline": "y"})["spec.peers"] == "--aet_dictionary_inline"
    errors: list[ConfigError] = []
    assert environment(errors, ENV_AETS_JSON="{}") == {}
    assert [str(error) for error in errors] == ["ENV_AETS_JSON: is no list of AEs; write [{name: AE, host: HOST, port: PORT}]"]


DESTINATIONS = """[
  {'filter': 'AETitle=MAMMO&Modality=MG\\US', dicomweb_destination: 'https://archive.example/dicom-web/studies'},
  {"filter": "00080080=*Hospital*", "name": "PACS", "host": "10.1.2.3", "port": "104"},
  {"filter": "", "dicomweb_destination": "https://archive.example/dicom-web/"},
]"""
ROUTED = {
    "spec.destinations": [
        {"name": "destination-1", "dicomStore": "https://archive.example/dicom-web"},
        {"name": "destination-2", "aeTitle": "PACS", "host": "10.1.2.3", "port": 104},
    ],
    "spec.routes": [
        {
            "match": {"callingAETitle": "MAMMO", "attributes": [{"keyword": "Modality", "values": ["MG", "US"]}]},
            "destinations": ["destination-1"],
        },
        {"match": {"attributes": [{"keyword": "00080080", "values": ["*Hospital*"]}]}, "destinations": ["destination-2"]},
        {"match": {}, "destinations": ["destination-1"]},
    ],
}


def test_googles_destination_configuration_becomes_destinations_and_routes(tmp_path: Path) -> None:
    errors: list[ConfigError] = []
    assert overrides({"--destination_config_inline": DESTINATIONS}, errors) == ROUTED
    file = tmp_path / "destinations.json"
    file.write_text(DESTINATIONS)
    assert overrides({"--destination_config_path": str(file)}, errors) == ROUTED
    assert overrides({"--destination_config_path": str(file), "--destination_config_inline": "[]"}, errors)["spec.routes"] == []
    assert environment(errors, ENV_DESTINATION_CONFIG_JSON=DESTINATIONS) == ROUTED
    assert overrides({"--send_to_all_matching_destinations": "true"}, errors) == {"spec.routing": "AllMatches"}
    assert errors == []


def test_what_is_wrong_in_it_is_said_of_the_flag_that_gave_it() -> None:
    given = {"--dimse_aet": "GATE", "--dicomweb_address": "https://pacs.example/dicom-web", "--destination_config_inline": DESTINATIONS}
    found = overrides({**given, "--destination_config_inline": DESTINATIONS.replace("Modality", "Modalty")}, [])
    with pytest.raises(ConfigErrors) as caught:
        load(None, found, aliases=aliases(given))
    assert [str(error) for error in caught.value.errors] == [
        "--destination_config_inline: 'Modalty' is neither the keyword of an attribute nor its tag as ggggeeee; did you mean 'Modality'?"
    ]
    assert load(None, overrides(given, []), aliases=aliases(given)).routes[0].destinations == ("destination-1",)
    assert aliases({"--destination_config_path": "x"})["spec.destinations"] == "--destination_config_path"


def environment(errors: list[ConfigError], **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    from_environment(variables, found, {}, errors)
    return found


@pytest.mark.parametrize(
    ("flag", "value", "why"),
    [
        ("--persistent_file_upload_retry_amount", "20", "'20' is not a number of retries; write a number from 0 to 19"),
        ("--min_upload_delay", "0", "'0' is not a number of milliseconds; write a number from 10 to 60000"),
        ("--max_waiting_time_between_uploads", "1h", "'1h' is not a number of milliseconds; write a number from 10 to 300000"),
        ("--destination_config_inline", "[{", f"is no JSON; write {SHAPE}"),
        ("--destination_config_inline", "{}", f"is no list of destinations; write {SHAPE}"),
        (
            "--destination_config_inline",
            '[{"dicomweb_destination": "https://a.example"}]',
            "entry 0 has no filter; write one, or an empty text to match every image",
        ),
        (
            "--destination_config_inline",
            '[{"filter": "Modality", "dicomweb_destination": "https://a.example"}]',
            "entry 0 has the condition 'Modality'; write KEYWORD=VALUE, joined by & when there are several",
        ),
        (
            "--destination_config_inline",
            '[{"filter": "AETitle=A&AETitle=B", "dicomweb_destination": "https://a.example"}]',
            "entry 0 has two AE titles, which no sender has; write an entry for each",
        ),
        (
            "--destination_config_inline",
            '[{"filter": "", "name": "PACS", "port": 104}]',
            "entry 0 has neither dicomweb_destination nor host; write the URL of a store, or name, host and port of a node",
        ),
        ("--destination_config_path", "/nowhere", "cannot read '/nowhere' (No such file or directory); name a readable file"),
        ("--aet_dictionary_inline", "[{", "is no JSON; write [{name: AE, host: HOST, port: PORT}]"),
        ("--aet_dictionary_inline", "{name: A}", "is no list of AEs; write [{name: AE, host: HOST, port: PORT}]"),
        (
            "--aet_dictionary_inline",
            '[{"name": "A", "host": "a", "port": 1}, {"name": "B", "ip": "1.2.3.4", "port": 1}]',
            "entry 1 has no host (it has 'ip', which means nothing here); write name, host and port",
        ),
        ("--aet_dictionary_inline", '[{"name": "A", "host": "a"}]', "entry 0 has no port; write name, host and port"),
        ("--aet_dictionary", "/nowhere", "cannot read '/nowhere' (No such file or directory); name a readable file"),
        ("--http_error_codes_to_retry", "500,600", "'600' is not an HTTP status; write a number from 400 to 599"),
    ],
)
def test_a_value_that_is_none(flag: str, value: str, why: str) -> None:
    errors: list[ConfigError] = []
    assert overrides({flag: value}, errors) == {}
    assert [str(error) for error in errors] == [f"{flag}: {why}"]


def test_flags_without_effect_are_answered_with_a_notice() -> None:
    found = scan(["--stow_http2", "--monitoring_project_id=p"])
    assert found.errors == []
    assert overrides(found.values, []) == {}
    assert notices(found.values) == [
        "--stow_http2 has no effect: connections are kept and shared, images go over HTTP/1.1 in either case; remove the flag",
        "--monitoring_project_id has no effect: metrics are served at /metrics, for Prometheus to collect; remove the flag",
    ]
    assert notices({"--monitoring_project_id": ""}) == []


def test_the_last_value_of_a_flag_counts() -> None:
    assert scan(["--dimse_port=1", "--dimse_port=2"]).values == {"--dimse_port": "2"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dimse_prt=1"], ["--dimse_prt: is not a flag of this version; did you mean '--dimse_port'?"]),
        (
            ["--redact_keep_list", "/x", "--verbose"],
            ["--redact_keep_list: is not a flag of this version; dicom-adapter import --help lists them"],
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
