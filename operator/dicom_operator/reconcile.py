"""The reconciler: one adapter or exporter from what is to what should be, from the top, every time (level-triggered).

Nothing is remembered from one run to the next that a run needs to be right: a crash at any point is mended by the next run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_operator import __version__, api, messages
from dicom_operator.api import ConditionType, EventReason, Json, Key, Reason, Resource
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.children import REFUSED_SECONDS, Children
from dicom_operator.claims import Claims
from dicom_operator.config import Config
from dicom_operator.errors import ApiConflict, ApiError, ApiNotFound, ApiUnauthorized, ApiUnavailable, NotLeading, SpecError
from dicom_operator.events import Note, Recorder, last_event, transitions
from dicom_operator.kinds import KINDS
from dicom_operator.metrics import Metrics
from dicom_operator.model.adapter import is_paused
from dicom_operator.model.managed import Managed
from dicom_operator.observed.objects import Observed, PodReport, claims_of, of_kind, pods_of, ref
from dicom_operator.render.adapter import Plan
from dicom_operator.render.loadbalancer import is_public
from dicom_operator.status import changes, workload
from dicom_operator.status.address import assigned
from dicom_operator.status.conditions import Condition, find
from dicom_operator.status.document import View, applied, build
from dicom_operator.workqueue import Done, Outcome, RequeueAfter, Retry

FIGHT_CORRECTIONS = 10
FIGHT_SECONDS = 10.0
"""Somebody who changes a child back as often as this gets a pause: two controllers must not keep the API server busy."""

UNRESOLVED_SECONDS = 60.0
"""How soon a load balancer's host name that could not be resolved is looked up again: it may lead to a public address."""

SPOOL_SECONDS = 30.0
"""How often what waits or was exported is written at most: exact counts are metrics."""
HOLD_SECONDS = 5.0
"""How long a status that says no more than "not yet" may wait: most adapters become Ready meanwhile, with one write for all of it."""

UNSEEN_SECONDS = 30.0
"""The same for one that says nothing new but how many pods there are, ready or not: no column and no sentence shows it."""

PENDING_SECONDS = 15.0
"""How soon the events of a Service without an address are read again, since nothing wakes us for them; the longer it waits, the later."""


LEVELS = {"Normal": logging.INFO, "Warning": logging.WARNING, EventReason.SPOOL_KEPT: logging.ERROR}


@dataclass(frozen=True, slots=True)
class Tools:
    """What the reconciler works with."""

    cluster: Cluster
    cache: Cache
    config: Config
    recorder: Recorder
    metrics: Metrics
    reports: Mapping[str, PodReport | None]
    resolve: Callable[[str], Awaitable[bool | None]]
    now: Callable[[], datetime]
    clock: Callable[[], float]
    random: Callable[[], float]
    log: logging.Logger


class Reconciler:
    """Reconciles one key after the other."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._children = Children(tools.cluster, tools.cache, tools.config)
        self._corrections: dict[Key, deque[float]] = {}
        self._held: dict[Key, float] = {}
        """Since when a status that says no more than the last one waits to be written."""
        self._counted: dict[Key, float] = {}
        """When what waits or was exported was last written."""
        self._at_rest: dict[Key, list[object]] = {}
        """What the last run saw, when nothing but time can call for another: while it is the same, a look need not do its work again."""
        self._claims = Claims(tools.cluster, self._tell, tools.clock, tools.log)

    async def process(self, key: Key) -> Outcome:
        """What the work queue calls: every outcome is counted, a defect of ours is told in the status and tried again."""
        tools = self._tools
        started = tools.clock()
        try:
            outcome = await self.reconcile(key)
            label = type(outcome).__name__
        except NotLeading:
            outcome, label = Done(), "NotLeading"  # whoever leads now looks at every adapter
        except Exception as error:
            tools.log.exception("reconcile failed", extra=key.about)
            outcome, label = await self._defect(key, error), "Error"
        tools.metrics.reconciled(label, tools.clock() - started)
        return outcome

    async def reconcile(self, key: Key) -> Outcome:
        """One run."""
        tools = self._tools
        body = tools.cache.get(key.resource, key.namespace, key.name)
        if body is None:
            tools.metrics.forget(key)
            self._corrections.pop(key, None)
            self._held.pop(key, None)
            self._counted.pop(key, None)
            self._at_rest.pop(key, None)
            await self._claims.release(key)
            return Done()
        if body["metadata"].get("deletionTimestamp"):
            await self._claims.release(key)
            return Done()  # the garbage collector follows the owner references
        kind, observed = KINDS[key.kind], self._observe(body)
        self._claims.remember(key, body, observed)
        seen, next_look = self._seen(body, observed), tools.config.resync_seconds * (0.5 + tools.random())
        if self._at_rest.pop(key, None) == seen:
            self._at_rest[key] = seen
            self._measure(key, body["status"])
            return RequeueAfter(next_look)
        try:
            adapter = self._parse(body)
        except SpecError as error:
            condition = applied("False", Reason.INVALID_SPEC, messages.invalid_spec(error.path, error.message))
            return await self._publish(View(body, None, condition, observed), Done())
        if is_paused(body):
            condition = applied("Unknown", Reason.PAUSED, messages.paused())
            plan = replace(kind.plan(adapter, observed), waits="")
            return await self._publish(await self._view(body, adapter, condition, observed, plan), Done())
        if pause := self._fight_pause(key):
            return RequeueAfter(pause)
        plan = kind.plan(adapter, observed)
        result = await self._children.bring(adapter, observed, plan, was_applied=_was_applied(body))
        for child, note in result.restored:
            tools.metrics.drift_corrected(child)
            self._corrections.setdefault(key, deque(maxlen=FIGHT_CORRECTIONS)).append(tools.clock())
            await self._tell(body, note)
        if isinstance(result.retry, ApiConflict):
            return Retry()  # somebody was faster, or the cache was behind: nothing to tell
        outcome: Outcome = RequeueAfter(next_look)
        if result.again_in is not None:
            outcome = RequeueAfter(result.again_in)
        if result.retry is not None:
            outcome = Retry(result.retry.retry_after or 0.0 if isinstance(result.retry, ApiUnavailable) else 0.0)
        if adapter.spools and result.condition.true:
            await self._claims.adopt(observed)
        view = await self._view(body, adapter, result.condition, observed, plan)
        if isinstance(outcome, RequeueAfter) and None in view.names.values():
            outcome = RequeueAfter(min(outcome.seconds, UNRESOLVED_SECONDS))
        if isinstance(outcome, RequeueAfter) and kind.pending(adapter, observed):
            outcome = RequeueAfter(min(outcome.seconds, max(PENDING_SECONDS, self._pending_for(body) / 2)))
        if isinstance(outcome, RequeueAfter) and workload.lacks_pods(view.workload):
            outcome = RequeueAfter(min(outcome.seconds, PENDING_SECONDS))
        outcome = await self._publish(view, outcome)
        if outcome == RequeueAfter(next_look) and not view.names and self._seen(body, self._observe(body)) == seen:
            self._at_rest[key] = seen  # nothing was written; without host names, for what they lead to may change
        return outcome

    def _parse(self, body: Json) -> Managed:
        adapter: Managed = KINDS[body["kind"]].parse(body)
        config = self._tools.config
        if adapter.pod.image and not config.image_allowed(adapter.pod.image):
            allowed = (*config.allowed_images, config.adapter_image)
            raise SpecError("spec.image", messages.image_not_allowed(adapter.pod.image, allowed))
        return adapter

    def _observe(self, body: Json) -> Observed:
        cache, metadata = self._tools.cache, body["metadata"]
        children = {ref(child): child for resource in api.OWNED for child in cache.controlled(resource, metadata["uid"])}
        pods = of_kind(cache.labelled(api.POD, metadata["namespace"], metadata["name"]), body["kind"])
        claims = claims_of(cache.labelled(api.CLAIM, metadata["namespace"], metadata["name"]), metadata["name"])
        return Observed(children, pods_of(pods, metadata["name"]), self._tools.reports, claims)

    def _seen(self, body: Json, observed: Observed) -> list[object]:
        """All that a run depends on beside the time: the versions of what is there, also of pods on their way out, and the pods' words."""
        cache, metadata = self._tools.cache, body["metadata"]
        pods = list(cache.labelled(api.POD, metadata["namespace"], metadata["name"]))
        claims = cache.labelled(api.CLAIM, metadata["namespace"], metadata["name"])
        there = [body, *observed.children.values(), *pods, *claims]
        versions = sorted((*ref(one), one["metadata"]["resourceVersion"]) for one in there)
        return [versions, {uid: observed.reports[uid] for pod in pods if (uid := pod["metadata"]["uid"]) in observed.reports}]

    def _measure(self, key: Key, told: Json) -> None:
        self._tools.metrics.conditions(key, {item["type"]: (item["status"], item["reason"]) for item in told["conditions"]})

    async def _view(self, body: Json, adapter: Managed, condition: Condition, observed: Observed, plan: Plan) -> View[Managed]:
        service = observed.child(api.SERVICE, adapter.key.name)
        names = {host: await self._tools.resolve(host) for host in assigned(service) if is_public(host) is None}
        event = await self._last_event(api.SERVICE, adapter) if KINDS[adapter.key.kind].pending(adapter, observed) else ""
        view: View[Managed] = View(body, adapter, condition, observed, names, event, plan)
        if workload.lacks_pods(view.workload):
            view = replace(view, workload_event=await self._last_event(api.STATEFUL_SET, adapter, warnings=True))
        return view

    def _pending_for(self, body: Json) -> float:
        old = find(body.get("status") or {}, ConditionType.ADDRESS_ASSIGNED)
        if old.get("reason") != Reason.PENDING:
            return 0.0
        return (self._tools.now() - datetime.fromisoformat(old["lastTransitionTime"])).total_seconds()

    async def _last_event(self, resource: Resource, adapter: Managed, *, warnings: bool = False) -> str:
        """Why a Service has no address, or a StatefulSet too few pods, is told in their events alone.

        A courtesy: without them the sentence says where to look.
        """
        try:
            found = await self._tools.cluster.events_about(resource, adapter.key.namespace, adapter.key.name)
        except ApiError as error:
            self._tools.log.debug("events of %s %s not read: %s", resource.kind, adapter.key.name, error.text)
            return ""
        return last_event(event for event in found if not warnings or event.get("type") == "Warning")

    async def _publish(self, view: View[Managed], outcome: Outcome) -> Outcome:
        """Writes the status when it means something else than before, then tells of the transitions."""
        tools, metadata = self._tools, view.body["metadata"]
        old = view.body.get("status") or {}
        key = Key.of(view.body["kind"], view.body)
        new = build(view, tools.config, tools.now(), KINDS[key.kind].parts)
        self._measure(key, new)
        if wait := self._hold(key, old, new):
            return outcome if isinstance(outcome, Retry) else RequeueAfter(wait)
        if old == new:
            return outcome
        document = {
            "apiVersion": key.resource.api_version,
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": metadata["uid"]},
            "status": new,
        }
        try:
            answer = await tools.cluster.apply_status(document)
        except ApiNotFound:
            return Done()
        except (ApiConflict, ApiUnauthorized, ApiUnavailable) as error:
            return Retry(error.retry_after or 0.0 if isinstance(error, ApiUnavailable) else 0.0)
        except ApiError as error:
            tools.log.warning("status not written: %s", error.text, extra=key.about)
            return RequeueAfter(REFUSED_SECONDS)
        tools.cache.put(key.resource, answer)
        if changes.counts(old) != changes.counts(new):
            self._counted[key] = tools.clock()
        for note in transitions(old, new, key.kind):
            await self._tell(view.body, note)
        await self._claims.refusals(key, view.body, old, new, view.observed)
        if _plain(answer) != _plain(view.body) and not isinstance(outcome, Retry):
            return RequeueAfter(0.0)  # it was changed meanwhile, and the watch will tell the cache nothing new
        return outcome

    def _hold(self, key: Key, old: Json, new: Json) -> float:
        """How much longer a status may wait for another one to be written with it; 0: not at all."""
        now = self._tools.clock()
        if old != new and changes.only_counts(old, new):
            return max(0.0, self._counted.get(key, -SPOOL_SECONDS) + SPOOL_SECONDS - now)
        if old == new or not changes.repeats_not_yet(old, new):
            self._held.pop(key, None)
            return 0.0
        longest = UNSEEN_SECONDS if changes.only_pods(old, new) else HOLD_SECONDS
        wait = self._held.setdefault(key, now) + longest - now
        if wait <= 0:
            del self._held[key]
        return max(0.0, wait)

    async def _tell(self, body: Json, note: Note) -> None:
        metadata = body["metadata"]
        extra = {**Key.of(body["kind"], body).about, "generation": metadata["generation"], "reason": str(note.reason)}
        self._tools.log.log(LEVELS.get(note.reason, LEVELS[note.type]), "%s", note.message, extra=extra)
        await self._tools.recorder.record(body, note)

    async def _defect(self, key: Key, error: Exception) -> Outcome:
        """Nobody reads the operator's log first: the status says that it is our fault. It must not fail itself."""
        body = self._tools.cache.get(key.resource, key.namespace, key.name)
        text = error.text if isinstance(error, ApiError) else type(error).__name__
        if body is not None:
            condition = applied("False", Reason.APPLY_FAILED, messages.internal_error(text, key.kind))
            try:
                await self._publish(View(body, None, condition, self._observe(body)), Done())
            except Exception:
                self._tools.log.exception("status after a defect not written", extra=key.about)
        return Retry()

    def _fight_pause(self, key: Key) -> float:
        times = self._corrections.get(key)
        if not times or len(times) < FIGHT_CORRECTIONS:
            return 0.0
        return max(0.0, times[0] + FIGHT_SECONDS - self._tools.clock())


def _plain(body: Json) -> Json:
    """The metadata that others write: generation, labels, annotations."""
    return {name: value for name, value in body["metadata"].items() if name not in ("resourceVersion", "managedFields")}


def _was_applied(body: Json) -> bool:
    """Whether this very generation had been applied by this version of the operator: then a child that is missing was deleted."""
    old = body.get("status") or {}
    current = find(old, ConditionType.APPLIED)
    return (
        current.get("status") == "True"
        and current.get("observedGeneration") == body["metadata"]["generation"]
        and old.get("operatorVersion") == __version__
    )
