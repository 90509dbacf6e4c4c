"""The canaries sing: a leak in a log, a metric or a status fails the test in which it happens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support import canaries
from tests.support.adapter import Adapter
from tests.support.dicom import SAMPLES, generated, instance, write_sample


def test_there_are_enough_and_none_is_a_part_of_another() -> None:
    values = list(canaries.ALL.values())
    assert len(values) >= 40
    assert [one for one in values for other in values if one in other and one != other] == []


@pytest.mark.parametrize("what", canaries.ALL)
def test_each_is_found_as_it_is_and_inside_json(what: str) -> None:
    canary = canaries.ALL[what]
    assert canaries.found(f"before{canary}after") == [what]
    assert canaries.found(json.dumps({"message": json.dumps({"text": canary})})) == [what]
    with pytest.raises(AssertionError, match=what):
        canaries.scan({"a log": "nothing", "a page": canary})
    canaries.scan({"a log": "nothing"})


@pytest.mark.parametrize("name", ["CT", "MR implicit", "MR big endian"])
def test_every_image_that_tests_make_carries_those_of_the_patient(name: str, tmp_path: Path) -> None:
    assert name in SAMPLES
    for data_set in (generated().data_set, instance(write_sample(name, tmp_path)).data_set):
        assert set(canaries.found(data_set.decode("latin-1"))) >= set(canaries.PATIENT)


async def test_an_adapter_that_logs_one_fails_the_test_in_which_it_does() -> None:
    leaky = (sys.executable, "-c", 'import sys; print(\'{"message": "storing Canary^Reader\\u0027s"}\', file=sys.stderr)')
    with pytest.raises(AssertionError, match="NameOfPhysiciansReadingStudy"):
        async with Adapter("http://127.0.0.1:9/x", command=leaky, wait=False) as adapter:
            assert adapter.process
            await adapter.process.wait()
