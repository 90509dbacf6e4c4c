"""The chart's files against each other: its copies, its values, their schema and their manual."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "dicom-operator"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def sync() -> Any:
    """charts/sync.py as a module; charts/ is no package."""
    spec = importlib.util.spec_from_file_location("sync", ROOT / "charts" / "sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sync"] = module
    spec.loader.exec_module(module)
    return module


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of what is no map, or an empty one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


LEAVES = dict(leaves(VALUES))


def test_the_copies_are_up_to_date():
    done = subprocess.run([sys.executable, str(ROOT / "charts" / "sync.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stale_copy_is_named_and_written(tmp_path, monkeypatch, capsys):
    module = sync()
    chart = tmp_path / "charts" / "dicom-operator"
    source, copy = (tmp_path / side / f"dicom_{side}" for side in ("adapter", "operator"))
    (tmp_path / "crds").mkdir()
    source.mkdir(parents=True)
    (source / "patterns.py").write_text("rule = 1\n")
    (chart / "files" / "crds").mkdir(parents=True)
    (tmp_path / "crds" / "a.yaml").write_text("new\n")
    (chart / "files" / "crds" / "a.yaml").write_text("old\n")
    (chart / "files" / "crds" / "gone.yaml").write_text("old\n")
    (chart / "values.yaml").write_text("image:\n  # Its tag.\n  tag: 1\n")
    (chart / "README.md").write_text(f"before\n{module.BEGIN}{module.END}after\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CHART", chart)
    assert module.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "charts/dicom-operator/files/crds/a.yaml is out of date; run python3 charts/sync.py" in told
    assert "gone.yaml" in told
    assert "README.md" in told
    assert (chart / "files" / "crds" / "a.yaml").read_text() == "old\n"
    assert module.main([]) == 0
    assert [path.name for path in (chart / "files" / "crds").iterdir()] == ["a.yaml"]
    assert (chart / "files" / "crds" / "a.yaml").read_text() == "new\n"
    assert (copy / "spec" / "patterns.py").read_text() == module.COPIED + "rule = 1\n"
    assert "| `image.tag` | `1` | Its tag. |\n" in (chart / "README.md").read_text()
    assert (chart / "README.md").read_text().endswith("after\n")
    assert module.main(["--check"]) == 0


def test_every_value_has_its_line_in_the_readme():
    rows = {value.path: value for value in sync().values((CHART / "values.yaml").read_text())}
    assert set(rows) == {".".join(path) for path in LEAVES}
    assert [path for path, row in rows.items() if not row.comment.endswith(".")] == []
    for path, value in LEAVES.items():
        assert yaml.safe_load(rows[".".join(path)].default) == value


def test_the_default_values_are_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_misspelt_value_is_refused_at_every_level(path):
    values = copy.deepcopy(VALUES)
    section = values
    for key in path[:-1]:
        section = section[key]
    if path[:2] in (("resources", "requests"), ("resources", "limits")):
        section = values["resources"]
    section["tpyo"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="tpyo"):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("image.repository", ""),
        ("image.pullPolicy", "Sometimes"),
        ("adapter.allowedImages", "ghcr.io/acme"),
        ("adapter.allowedImages", [""]),
        ("watchNamespaces", ["Rad"]),
        ("watchNamespaces", ["rad", "rad"]),
        ("logLevel", "Info"),
        ("logFormat", "xml"),
        ("metrics.service.port", 0),
        ("networkPolicy.apiServerPorts", []),
        ("crds.keep", "yes"),
        ("imagePullSecrets", ["registry-login"]),
    ],
)
def test_a_wrong_value_is_refused(path, value):
    values = copy.deepcopy(VALUES)
    *parents, key = path.split(".")
    section = values
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


def test_the_chart_says_which_kubernetes_its_crd_needs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == ">=1.31.0-0"
    (example,) = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    assert (example["apiVersion"], example["kind"]) == ("dicomadapter.io/v1alpha1", "DicomAdapter")
