"""Which workloads there should be, after what is there: nothing that holds images goes before they are delivered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dicom_operator import succession
from dicom_operator.api import DEPLOYMENT, STATEFUL_SET
from dicom_operator.observed.objects import Observed, PodReport, claims_of, ref
from dicom_operator.render.adapter import Plan
from dicom_operator.render.workload import config_hash
from tests.unit.operator.builders import SPOOL, adapter, claim, deployment, ready_pods, report, serving, spooled, stateful

HASH = config_hash(adapter())
DELIVERED = "pod ct-east-1 leaves when its images for 'dicomStore' are delivered"
TOLD = "pod ct-east-1 leaves when its associations have ended and its images are delivered"
SILENT = "pod ct-east-1 leaves when it has told that its spool is empty: it does not run or does not answer"


def plan(
    *workloads: dict[str, Any],
    pods: list[dict[str, Any]] | None = None,
    says: Mapping[int, PodReport | None] | None = None,
    claims: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> Plan:
    reports = {f"ct-east-{number}": found for number, found in (says or {}).items()}
    there = [claim(0), claim(1)] if claims is None else claims
    observed = Observed({ref(body): body for body in workloads}, [spooled(0), spooled(1)] if pods is None else pods, reports, there)
    found = adapter(**spec)
    return succession.plan(found, observed, config_hash(found))


def test_at_first_there_is_what_the_spec_says():
    assert plan(pods=[], claims=[]) == Plan(deployment=True)
    assert plan(pods=[], claims=[], **SPOOL, replicas=3) == Plan(deployment=False, stateful=3)


@pytest.mark.parametrize(
    ("says", "replicas", "waits"),
    [
        (report(1000), 2, DELIVERED),
        (report(1, closed=True), 2, DELIVERED),
        (report(0), 2, TOLD),
        (report(0, closed=True, generation=2), 2, TOLD),  # of an earlier order: meanwhile it may have received
        (None, 2, SILENT),
        (report(0, closed=True), 1, ""),
        (report(0, failed=3, closed=True), 1, ""),  # what was refused for good stays on the claim
    ],
    ids=["images", "closed with images", "not closed", "an earlier order", "silent", "empty", "only refused ones"],
)
def test_fewer_replicas_wait_for_the_last_pod(says, replicas, waits):
    assert plan(stateful(wanted=2), says={1: says}, **SPOOL) == Plan(deployment=False, stateful=replicas, waits=waits)


def test_several_leave_from_the_end():
    empty = report(0, closed=True)
    three = [claim(number) for number in range(4)], [spooled(number) for number in range(4)]
    for says, left in (({3: empty, 2: empty, 1: report(1)}, 2), ({3: empty, 1: empty}, 3), ({3: report(1), 2: empty, 1: empty}, 4)):
        assert plan(stateful(wanted=4), claims=three[0], pods=three[1], says=says, **SPOOL).stateful == left


def test_all_may_leave():
    both = {0: report(0, closed=True), 1: report(0, closed=True)}
    assert plan(stateful(wanted=2), says=both, **SPOOL, replicas=0) == Plan(deployment=False, stateful=0)


@pytest.mark.parametrize("there", [[claim(0)], [claim(0), claim(1, "Pending")]])
def test_a_pod_that_never_had_a_volume_may_leave(there):
    assert plan(stateful(wanted=2), pods=[spooled(0)], claims=there, **SPOOL).stateful == 1


def test_what_an_earlier_adapter_left_behind_is_delivered_first():
    """Its claims outlived it. The pods beyond the wanted ones start, say that they are empty, and leave."""
    there = [claim(0), claim(2), claim(0, name="ct-east-2")]
    found = plan(pods=[], claims=claims_of(there, "ct-east"), **SPOOL)
    assert found == Plan(deployment=False, stateful=3, waits=SILENT.replace("east-1", "east-2"))


def test_the_deployment_stays_until_its_successor_serves():
    kept = frozenset({(DEPLOYMENT.kind, "ct-east")})
    waits = "the pods without a spool leave when those with one are ready"
    assert plan(serving(), pods=[], claims=[], **SPOOL) == Plan(deployment=False, stateful=1, kept=kept, waits=waits)
    assert plan(serving(), stateful(ready=0), **SPOOL) == Plan(deployment=False, stateful=1, kept=kept, waits=waits)
    assert plan(serving(), stateful(), **SPOOL) == Plan(deployment=False, stateful=1)
    leaving = plan(serving(), stateful(wanted=2, ready=1), says={1: report(1)}, **SPOOL)
    assert leaving == Plan(deployment=False, stateful=2, waits=DELIVERED)


def back(*workloads: dict[str, Any], hashes: tuple[str, str] = (HASH, HASH), **says: Any) -> Plan:
    pods = [spooled(number, found) for number, found in enumerate(hashes)]
    return plan(stateful(wanted=2), *workloads, pods=[*pods, *ready_pods()], **says)


def test_on_the_way_back_the_spools_are_emptied_first():
    empty = report(0)
    assert back(says={0: empty, 1: report(5)}) == Plan(deployment=False, stateful=2, waits=DELIVERED)
    assert back(says={0: empty, 1: None}) == Plan(deployment=False, stateful=2, waits=SILENT)
    assert back(says={0: empty, 1: empty}, hashes=(HASH, "before")) == Plan(deployment=False, stateful=2, waits=TOLD)
    waits = "every image is delivered: the pods with a spool leave when those without one are ready"
    assert back(says={0: empty, 1: empty}) == Plan(deployment=True, stateful=2, waits=waits)
    starting = deployment(wanted=1, replicas=1)
    assert back(starting, says={0: empty, 1: empty}) == Plan(deployment=True, stateful=2, waits=waits)
    assert back(serving(), says={0: empty, 1: empty}) == Plan(deployment=True)
    assert back(serving(), says={0: empty, 1: report(1)}) == Plan(deployment=True, stateful=2, waits=DELIVERED)


def test_a_volume_that_never_was_there_holds_nothing_back():
    assert plan(stateful(wanted=2), serving(), pods=ready_pods(), claims=[claim(0, "Pending")]) == Plan(deployment=True)
    assert plan(stateful(wanted=0), serving(), pods=ready_pods(), claims=[]) == Plan(deployment=True)
    assert (STATEFUL_SET.kind, "ct-east") not in plan(stateful(wanted=0), serving(), pods=[]).kept
