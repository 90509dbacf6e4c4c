"""The status of a DicomAdapter or DicomExport, from what was done and what is observed. Pure; the time is a parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from dicom_operator import __version__, api, messages
from dicom_operator.api import ConditionType, Json, Key, Reason
from dicom_operator.config import Config
from dicom_operator.model.managed import Managed
from dicom_operator.observed.objects import Observed, has_ordinal, ordinal
from dicom_operator.render.adapter import Plan
from dicom_operator.render.meta import selector
from dicom_operator.render.workload import adapter_image
from dicom_operator.status import conditions, workload
from dicom_operator.status.conditions import Condition

STALLED = frozenset({Reason.INVALID_SPEC, Reason.NAME_CONFLICT, Reason.FORBIDDEN, Reason.REJECTED})


M = TypeVar("M", bound=Managed)


@dataclass(frozen=True, slots=True)
class View(Generic[M]):
    """Everything that a status is made from."""

    body: Json
    adapter: M | None
    """None when the spec cannot be parsed."""
    applied: Condition
    observed: Observed
    names: Mapping[str, bool | None] = field(default_factory=dict)
    """Whether the host names of the load balancer lead to a public address; None: they could not be resolved."""
    service_event: str = ""
    """What was last told of the Service while it has no address."""
    plan: Plan = field(default_factory=lambda: Plan(deployment=True))
    workload_event: str = ""
    """Why a StatefulSet has too few pods."""

    @property
    def workload(self) -> Json | None:
        """The Deployment or StatefulSet that has to serve; while the spec cannot be read, the one that is there."""
        name = self.body["metadata"]["name"]
        found = [self.observed.child(kind, name) for kind in (api.DEPLOYMENT, api.STATEFUL_SET)]
        if self.adapter is None:
            return found[0] or found[1]
        return found[0] if self.plan.deployment else found[1]

    @property
    def pods(self) -> list[Json]:
        """Its pods; of a StatefulSet those that stay."""
        found = self.workload
        if found is None or found["kind"] != api.STATEFUL_SET.kind:
            return [pod for pod in self.observed.pods if not has_ordinal(pod)]
        own = [pod for pod in self.observed.pods if has_ordinal(pod)]
        return [pod for pod in own if self.adapter is None or not self.adapter.spools or ordinal(pod) < self.adapter.replicas]


def applied(status: conditions.Status, reason: Reason, message: str) -> Condition:
    """The Applied condition."""
    return Condition(ConditionType.APPLIED, status, reason, message)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a kind has in its status beside Applied and WorkloadAvailable."""

    gates: Sequence[Condition]
    """What must hold for Ready, too."""
    told: Sequence[Condition]
    """What never makes it unready."""
    fields: Json
    ready: str
    """What Ready says when all holds."""
    suspended: str
    scaled_to_zero: str


Kinds = Callable[[View[M], M | None, Json], Parts]
"""Makes the parts of a kind from what is seen, the spec that is served, and the status before."""


def build(view: View[M], config: Config, now: datetime, parts_of: Kinds[M]) -> Json:
    """The whole status to apply."""
    body, adapter = view.body, view.adapter
    previous = body.get("status") or {}
    generation = body["metadata"]["generation"]
    if view.applied.reason == Reason.PAUSED and previous.get("observedGeneration", 0) != generation:
        generation, adapter = previous.get("observedGeneration", 0), None  # what is served is the generation before the pause
    own = parts_of(view, adapter, previous)
    found = view.workload
    wanted = ((found or {}).get("spec") or {}).get("replicas", 0) if adapter is None else adapter.wanted_replicas
    running = workload.available(wanted, found, view.pods, view.observed.reports, view.workload_event, own.scaled_to_zero)
    if found is None and view.applied.status == "False":
        missing = api.DEPLOYMENT if view.plan.deployment else api.STATEFUL_SET
        running = workload.not_observed(messages.not_applied(missing.kind, body["kind"]))
    if not view.observed.asked:
        running = _as_before(running, previous, generation)
    gates = [running, *own.gates]
    ready = _ready(view.applied, adapter, gates, own)
    parts = [ready, view.applied, *gates, *own.told]
    parts += _kstatus(ready, view.applied, gates, stuck=workload.deadline_exceeded(found), waits=view.plan.waits if adapter else "")
    observed_replicas = (found or {}).get("status") or {}
    key = Key.of(body["kind"], body)
    return {
        "observedGeneration": generation,
        "conditions": conditions.render(parts, previous.get("conditions") or (), generation, now.strftime("%Y-%m-%dT%H:%M:%SZ")),
        "replicas": observed_replicas.get("replicas", 0),
        "readyReplicas": observed_replicas.get("readyReplicas", 0),
        "replicasSummary": f"{observed_replicas.get('readyReplicas', 0)}/{wanted}",
        "selector": ",".join(f"{name}={value}" for name, value in selector(key).items()),
        "operatorVersion": __version__,
        "adapterImage": adapter_image(adapter, config) if adapter else previous.get("adapterImage", config.adapter_image),
        **own.fields,
    }


def _as_before(running: Condition, previous: Json, generation: int) -> Condition:
    """What the pods themselves had said, until they have been asked again: a restart of the operator changes nothing."""
    old = conditions.find(previous, ConditionType.WORKLOAD_AVAILABLE)
    same = old.get("observedGeneration") == generation and old.get("reason") in (Reason.ROLLING_OUT, Reason.SECRET_MISSING)
    return kept(ConditionType.WORKLOAD_AVAILABLE, old) if running.reason == Reason.ROLLING_OUT and same else running


def kept(kind: ConditionType, old: Json) -> Condition:
    """A condition as it was."""
    return Condition(kind, old["status"], Reason(old["reason"]), old["message"])


def _ready(done: Condition, adapter: Managed | None, gates: Sequence[Condition], own: Parts) -> Condition:
    parts = list(gates)
    if done.reason != Reason.PAUSED:  # paused: Ready goes on telling about the workload
        parts.insert(0, done)
    if adapter and adapter.suspend and (done.true or done.reason == Reason.PAUSED):
        return Condition(ConditionType.READY, "False", Reason.SUSPENDED, own.suspended)
    return conditions.summarize(parts, Condition(ConditionType.READY, "True", Reason.AVAILABLE, own.ready))


def _kstatus(ready: Condition, done: Condition, gates: Sequence[Condition], *, stuck: bool, waits: str) -> list[Condition]:
    """Reconciling and Stalled: abnormal-true, absent when not true (kstatus), never both."""
    if done.reason in STALLED:
        return [Condition(ConditionType.STALLED, "True", done.reason, done.message)]
    if done.reason == Reason.APPLY_FAILED:
        return [Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING_WITH_RETRY, done.message)]
    at_rest = ready.true or ready.reason in (Reason.SUSPENDED, Reason.SCALED_TO_ZERO, Reason.PUBLIC_ADDRESS)
    if at_rest and waits and done.true:
        return [Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, waits)]
    if at_rest or done.reason == Reason.PAUSED:
        return []
    if stuck:
        return [Condition(ConditionType.STALLED, "True", Reason.PROGRESS_DEADLINE_EXCEEDED, gates[0].message)]
    missing = next((gate for gate in gates if not gate.true), gates[-1])
    return [Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, missing.message)]
