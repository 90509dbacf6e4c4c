"""What must stay as it is: names that are API, layers, and that kopf leaves no traces."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

import kopf
import pytest

from dicom_operator import api, messages
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.connection import Connection
from dicom_operator.apiserver.watch import Intake, build_registry, build_settings, watch
from dicom_operator.metrics import Metrics
from dicom_operator.probe import parse_report
from tests.unit.operator.builders import CONFIG

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "operator" / "dicom_operator"
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
(PURE,) = (
    [module.removeprefix("dicom_operator.") for module in contract["source_modules"]]
    for contract in LINTER
    if contract["name"].startswith("operator: the pure modules")
)
FORBIDDEN_IN_PURE = {"kopf", "kubernetes", "aiohttp", "asyncio", "os", "socket", "time"}


def others(path: Path) -> set[str]:
    """Top-level packages that a module imports, ours aside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found - {"dicom_operator"}


def files(module: str) -> list[Path]:
    """The file of a module, or those of a package."""
    return sorted((PACKAGE / module).glob("*.py")) or [PACKAGE / f"{module}.py"]


def test_the_standard_librarys_operator_is_not_shadowed():
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_know_no_loop_no_clock_and_no_environment(module):
    """The linter's contract names them; it does not look at the standard library."""
    for path in files(module):
        assert not others(path) & FORBIDDEN_IN_PURE, path


def test_third_parties_are_imported_in_one_place_each():
    users = {name: {path.stem for path in PACKAGE.rglob("*.py") if name in others(path)} for name in ("kopf", "kubernetes")}
    assert users == {"kopf": {"watch", "connection"}, "kubernetes": {"transport", "connection"}}


def test_kopf_gets_event_handlers_and_nothing_that_leaves_traces():
    registry = build_registry(Intake(Cache(), lambda key: None, lambda resource: None), cast(Connection, None))
    assert registry._changing.get_all_handlers() == []
    assert registry._spawning.get_all_handlers() == []
    assert registry._indexing.get_all_handlers() == []
    assert registry._webhooks.get_all_handlers() == []
    assert sorted(handler.id for handler in registry._watching.get_all_handlers()) == sorted(kind.plural for kind in api.WATCHED)
    assert not any(
        handler.requires_finalizer for handler in registry._watching.get_all_handlers() if hasattr(handler, "requires_finalizer")
    )


async def test_a_signal_before_kopf_takes_the_signals_over_ends_it_too():
    stop = asyncio.Event()
    stop.set()
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server="http://127.0.0.1:1")

    await asyncio.wait_for(watch(registry, CONFIG, stop, lambda: None), 60)


def test_kopfs_settings():
    settings = build_settings(CONFIG)
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert (settings.watching.server_timeout, settings.watching.client_timeout) == (300, 310)
    assert (settings.networking.request_timeout, settings.networking.connect_timeout) == (30, 10)
    assert (settings.process.ultimate_exiting_timeout or 99) < 30
    assert len(settings.watching.label_selectors) == len(api.WATCHED) - len(api.RECONCILED)


def test_kopf_copies_and_compares_nothing_and_keeps_nothing_on_objects():
    persistence = build_settings(CONFIG).persistence
    body = kopf.Body({"metadata": {"annotations": {"a": "b"}}, "spec": {"c": "d"}})
    patch = kopf.Patch()
    comparison, progress = persistence.diffbase_storage, persistence.progress_storage
    essence = comparison.build(body=body)
    assert essence == {}
    assert comparison.fetch(body=body) is None
    comparison.store(body=body, patch=patch, essence=essence)
    record = kopf.ProgressRecord()
    handler = kopf.HandlerId("a")
    progress.store(key=handler, record=record, body=body, patch=patch)
    progress.purge(key=handler, body=body, patch=patch)
    progress.touch(body=body, patch=patch, value="now")
    assert progress.fetch(key=handler, body=body) is None
    assert progress.clear(essence=essence) is essence
    assert not patch


def test_metric_names_are_api():
    names = set(re.findall(r"^# TYPE (dicom_operator_\w+)", Metrics().render().decode(), re.MULTILINE))
    assert {name for name in names if not name.endswith("_created")} == {
        "dicom_operator_build_info",
        "dicom_operator_leader",
        "dicom_operator_reconcile_total",
        "dicom_operator_reconcile_duration_seconds",
        "dicom_operator_api_requests_total",
        "dicom_operator_queue_depth",
        "dicom_operator_queue_oldest_age_seconds",
        "dicom_operator_queue_in_flight",
        "dicom_operator_queue_retries",
        "dicom_operator_watch_last_event_timestamp_seconds",
        "dicom_operator_drift_corrected_total",
        "dicom_operator_adapter_condition",
        "dicom_operator_export_condition",
    }


def test_conditions_of_an_adapter_go_with_it():
    metrics, key = Metrics(), api.Key("rad", "ct-east")
    metrics.conditions(key, {"Ready": ("False", "PublicAddress"), "Stalled": ("True", "Rejected")})
    metrics.conditions(key, {"Ready": ("False", "Suspended")})
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("dicom_operator_adapter_condition{")]
    assert lines == ['dicom_operator_adapter_condition{name="ct-east",namespace="rad",reason="Suspended",status="False",type="Ready"} 1.0']
    metrics.forget(key)
    assert "ct-east" not in metrics.render().decode()


def test_no_sentence_is_unused_or_undocumented():
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    sentences = "".join(path.read_text() for path in (PACKAGE / "messages").rglob("*.py"))
    for catalogue in (messages, messages.export):
        module = catalogue.__name__.removeprefix("dicom_operator.")
        for name, function in inspect.getmembers(catalogue, inspect.isfunction):
            assert function.__doc__, name
            own = sentences if function.__module__.endswith(".counting") else inspect.getsource(sys.modules[function.__module__])
            assert f"{module}.{name}(" in text or f"{name}(" in own.replace(f"def {name}(", ""), name


def test_no_two_sentences_of_the_catalogue_have_one_name():
    """The later file would take the name, and nobody would be told."""
    files = [path for path in (PACKAGE / "messages").glob("*.py") if path.stem != "export"]
    names = re.findall(r"^def (\w+)", "".join(path.read_text() for path in files), re.MULTILINE)
    assert len(names) == len(set(names)) > 50


def test_an_adapters_answer_is_foreign_data():
    good = b'{"version": 1, "ready": true, "reason": "Ready", "message": "a\\u0007\\nb", "store": {"reason": "Reachable", "message": "m"}}'
    assert getattr(parse_report(good), "message", None) == "a  b"
    bad = [b"", b"[]", b"{}", b"\xff", good.replace(b": 1", b": 2"), good.replace(b"true", b'"yes"'), good.replace(b'"Ready"', b"5")]
    assert [parse_report(data) for data in bad] == [None] * len(bad)
    assert len(getattr(parse_report(good.replace(b'"m"', b'"' + b"x" * 5000 + b'"')), "store_message", "")) == 1024
