"""Which workloads there should be now. Pure.

What holds images that nobody else has is not taken away before they are delivered: a pod that is not wanted any more, and the pods with
a spool when the spec goes back to AfterStore. And what serves stays until its successor does.
"""

from __future__ import annotations

from dicom_operator import api, messages
from dicom_operator.api import Json
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.observed.backlog import SpoolReport
from dicom_operator.observed.objects import Observed, ordinal
from dicom_operator.render.adapter import Plan
from dicom_operator.status import workload


def plan(adapter: DicomAdapter, observed: Observed, config_hash: str) -> Plan:
    """What there should be, after what is there."""
    name = adapter.key.name
    deployment, stateful = observed.child(api.DEPLOYMENT, name), observed.child(api.STATEFUL_SET, name)
    if adapter.spools:
        replicas, waits = _replicas(adapter, observed, stateful)
        if deployment is None or (stateful is not None and workload.serves(adapter.replicas, stateful, observed.pods)):
            return Plan(False, replicas, waits=waits)
        return Plan(False, replicas, frozenset({(api.DEPLOYMENT.kind, name)}), waits or messages.deployment_leaves())
    if stateful is None:
        return Plan(True)
    replicas = stateful["spec"].get("replicas", 0)
    if waits := _undelivered(adapter, observed, stateful, config_hash):
        return Plan(deployment is not None, replicas, waits=waits)
    if deployment is not None and workload.serves(adapter.wanted_replicas, deployment, observed.pods):
        return Plan(True)
    return Plan(True, replicas, waits=messages.stateful_set_leaves())


def _replicas(adapter: DicomAdapter, observed: Observed, stateful: Json | None) -> tuple[int, str]:
    """How many pods there should be now, and what keeps those that are too many."""
    if stateful is not None:
        replicas = int(stateful["spec"].get("replicas", 0))
    else:  # images that an earlier adapter of this name has left behind
        replicas = 1 + max((number for claim in observed.claims if observed.may_hold_images(number := ordinal(claim))), default=-1)
    while replicas > adapter.replicas:
        if waits := _leaving(adapter, observed, replicas - 1):
            return replicas, waits
        replicas -= 1
    return adapter.replicas, ""


def _leaving(adapter: DicomAdapter, observed: Observed, number: int) -> str:
    """What keeps one pod; "" when it may go."""
    pod = f"{adapter.key.name}-{number}"
    report = observed.spool_of(pod)
    if report is None:
        return messages.leaves_when_it_answers(pod) if observed.may_hold_images(number) else ""
    if names := _waiting(report):
        return messages.leaves_when_delivered(pod, names)
    return "" if report.closed and report.generation == adapter.generation else messages.leaves_when_told(pod)


def _undelivered(adapter: DicomAdapter, observed: Observed, stateful: Json, config_hash: str) -> str:
    """What keeps the pods with a spool, which do not add to it any more; "" when nothing does."""
    for number in range(int(stateful["spec"].get("replicas", 0))):
        pod = f"{adapter.key.name}-{number}"
        report = observed.spool_of(pod)
        if report is None:
            if observed.may_hold_images(number):
                return messages.leaves_when_it_answers(pod)
            continue
        if names := _waiting(report):
            return messages.leaves_when_delivered(pod, names)
        if observed.config_of(pod) != config_hash:
            return messages.leaves_when_told(pod)  # it still runs with a spool that it adds to
    return ""


def _waiting(report: SpoolReport) -> list[str]:
    return [lane.name for lane in report.lanes if lane.instances]
