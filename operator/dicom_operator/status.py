"""The status of a DicomAdapter or DicomExport, from what was done and what is observed. Pure; the time is a parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from dicom_operator import __version__, api, backlog, conditions, destinations, exporting, messages, messages_spool, workload
from dicom_operator.address import Address, address, not_observed
from dicom_operator.api import ConditionType, Json, Key, Reason
from dicom_operator.conditions import Condition
from dicom_operator.config import Config
from dicom_operator.managed import Managed
from dicom_operator.model import DicomAdapter
from dicom_operator.observe import Observed, has_ordinal, ordinal
from dicom_operator.render import Plan
from dicom_operator.render_meta import selector
from dicom_operator.render_workload import adapter_image

STALLED = frozenset({Reason.INVALID_SPEC, Reason.NAME_CONFLICT, Reason.FORBIDDEN, Reason.REJECTED})
SUMMARIES = frozenset({ConditionType.READY, ConditionType.RECONCILING})
"""Conditions that say what others say."""
COUNTS = ("spool", *exporting.COUNTS)
"""Fields that move by themselves: they are written now and then."""
STORE_REASONS = frozenset({Reason.REACHABLE, Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.UNREACHABLE, Reason.THROTTLED})


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


def adapter_parts(view: View[DicomAdapter], adapter: DicomAdapter | None, previous: Json) -> Parts:
    """Of a DicomAdapter: its address, what the pods say of stores and spools."""
    reached, observed = _reached(view, adapter, previous), view.observed
    told = delivering(observed, previous)
    spool = backlog.summary(observed.spools) if observed.spools else previous.get("spool") if told else None
    fields = {"address": reached.host, "port": reached.port, "endpoint": reached.endpoint, "spool": spool}
    fields["destinations"] = _destinations(observed, adapter, previous)
    text = messages.ready(reached.endpoint) if reached.endpoint else reached.condition.message
    if adapter and not reached.endpoint:
        text = messages.ready_at_nodes(adapter.ae_title, reached.port)
    return Parts(
        gates=[reached.condition],
        told=[one for one in (store_reachable(observed, previous), told) if one],
        fields={key: value for key, value in fields.items() if value},
        ready=text,
        suspended=messages.suspended(),
        scaled_to_zero=messages.scaled_to_zero(),
    )


def _destinations(observed: Observed, adapter: DicomAdapter | None, previous: Json) -> list[Json]:
    """`status.destinations`; of a spec that cannot be read, what was told before."""
    before = previous.get("destinations") or []
    names = [one.name for one in adapter.destinations] if adapter else [one["name"] for one in before]
    reports = (report.destinations for pod in observed.pods if (report := observed.reports.get(pod["metadata"]["uid"])))
    return destinations.summary(reports, names, before)


def repeats_not_yet(old: Json, new: Json) -> bool:
    """Whether a status says no more than the one before: not yet, of the same generation.

    Counts, and parts that have come to hold, wait for Ready or for a moment. What names a trouble, or takes one back, never waits.
    """
    if old.get("observedGeneration") != new["observedGeneration"]:
        return False
    before, after = ({item["type"]: item for item in status["conditions"]} for status in (old, new))
    both = [found.get(ConditionType.RECONCILING, {}).get("reason") for found in (before, after)]
    if both != [Reason.PROGRESSING] * 2:
        return False
    wanted = int(new["replicasSummary"].partition("/")[2])
    plain = {messages.waiting_for_rollout(ready, wanted) for ready in range(wanted + 1)}

    def no_more(kind: str) -> bool:
        was, now = before.get(kind, {}), after.get(kind, {})
        return now == was or now.get("status") == "True" or {was.get("message"), now.get("message")} <= plain

    return all(no_more(kind) for kind in before.keys() | after.keys() if kind not in SUMMARIES)


def only_pods(old: Json, new: Json) -> bool:
    """Whether a status differs from the one before in how many pods have been made, and in nothing else."""
    return {**old, "replicas": None} == {**new, "replicas": None}


def only_counts(old: Json, new: Json) -> bool:
    """Whether a status differs from the one before in what waits or was exported, and in nothing else."""
    nothing = dict.fromkeys(COUNTS)
    return {**old, **nothing} == {**new, **nothing}


def counts(status: Json) -> Json:
    """What moves by itself."""
    return {name: status.get(name) for name in COUNTS}


def store_reachable(observed: Observed, previous: Json) -> Condition | None:
    """What the adapters found when they asked the store: the worst; None before the first answer. Silence is Unknown, never False.

    Before all have been asked it is what it was: a restart of the operator changes nothing.
    """
    answers = [answer for pod in observed.pods if (answer := observed.reports.get(pod["metadata"]["uid"]))]
    told = [answer for answer in answers if answer.store_reason in STORE_REASONS]
    bad = next((answer for answer in told if answer.store_reason != Reason.REACHABLE), None)
    if bad:
        return Condition(ConditionType.STORE_REACHABLE, "False", Reason(bad.store_reason), bad.store_message)
    if told:
        return Condition(ConditionType.STORE_REACHABLE, "True", Reason.REACHABLE, told[0].store_message)
    old = conditions.find(previous, ConditionType.STORE_REACHABLE)
    if old and not observed.asked and old["reason"] in STORE_REASONS:
        return kept(ConditionType.STORE_REACHABLE, old)
    if old:
        return Condition(ConditionType.STORE_REACHABLE, "Unknown", Reason.NOT_PROBED, messages.store_not_probed())
    return None


def delivering(observed: Observed, previous: Json) -> Condition | None:
    """What the pods say of their spools: the worst; None where there is no spool. As `store_reachable`, silence is Unknown."""
    if worst := backlog.worst(observed.spools):
        good = worst.reason == Reason.DELIVERING
        return Condition(ConditionType.DELIVERING, "True" if good else "False", worst.reason, worst.message)
    old = conditions.find(previous, ConditionType.DELIVERING)
    if old and not observed.asked and old["reason"] in backlog.REASONS:
        return kept(ConditionType.DELIVERING, old)
    if any(kind == api.STATEFUL_SET.kind for kind, _ in observed.children):
        return Condition(ConditionType.DELIVERING, "Unknown", Reason.NOT_PROBED, messages_spool.delivery_not_probed())
    return None


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


def _reached(view: View[DicomAdapter], adapter: DicomAdapter | None, previous: Json) -> Address:
    if adapter is None:
        return _kept_address(previous)
    service = view.observed.child(api.SERVICE, adapter.key.name)
    if service is None and view.applied.status == "False":
        return not_observed(messages.not_applied(api.SERVICE.kind))
    return address(adapter, service, view.names, view.service_event)


def _kept_address(previous: Json) -> Address:
    """With a spec that cannot be read, or is not served, the address is the one told before."""
    old = conditions.find(previous, ConditionType.ADDRESS_ASSIGNED)
    if not old or old["reason"] not in set(Reason):  # another version of the operator may have other reasons
        return not_observed(messages.not_yet_applied())
    return Address(
        kept(ConditionType.ADDRESS_ASSIGNED, old), previous.get("address", ""), previous.get("port", 0), previous.get("endpoint", "")
    )
