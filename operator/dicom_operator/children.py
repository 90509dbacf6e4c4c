"""Bringing children to what the spec wants: look, check whose they are, apply what differs, prune what is left over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_operator import api, messages
from dicom_operator.api import BY_KIND, EventReason, Json, Reason
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.config import Config
from dicom_operator.difference import difference, foreign_container_ports, foreign_ports, with_ports
from dicom_operator.errors import ApiConflict, ApiError, ApiForbidden, ApiRejected, ApiUnavailable, OwnershipConflict
from dicom_operator.events import Note
from dicom_operator.kinds import KINDS
from dicom_operator.model.managed import Managed
from dicom_operator.observed.objects import Observed, Ref, controlling, is_ours, ref
from dicom_operator.render.adapter import Plan
from dicom_operator.status.conditions import Condition
from dicom_operator.status.document import applied
from dicom_operator.status.workload import rolled_out

NAME_TAKEN_SECONDS = 30.0
"""How soon we look again whether a foreign object went."""
REFUSED_SECONDS = 20.0  # an API server that is just learning of a kind or a right refuses for a moment
"""How soon we try again what the API server refused: rights, quotas and policies change without telling us."""


@dataclass(slots=True)
class Result:
    """What came of it."""

    condition: Condition
    again_in: float | None = None
    """Look again after this time although nothing may happen."""
    retry: ApiError | None = None
    """The request that failed and is worth repeating."""
    restored: list[tuple[str, Note]] = field(default_factory=list)
    """Children that somebody else had deleted or changed, by kind."""


class Children:
    """Writes children, and nothing that its adapter does not control."""

    def __init__(self, cluster: Cluster, cache: Cache, config: Config) -> None:
        self._cluster = cluster
        self._cache = cache
        self._config = config

    async def bring(self, adapter: Managed, observed: Observed, plan: Plan, *, was_applied: bool) -> Result:
        """Applies every child that is missing or differs. `was_applied`: all were there before, a missing one was deleted."""
        result = Result(applied("True", Reason.APPLIED, messages.applied()))
        families = _families(observed, adapter)
        desired = KINDS[adapter.key.kind].desired
        wanted = desired(adapter, self._config, families, plan)
        try:
            await self._look(wanted, adapter, observed)
            await self._apply_all(wanted, observed, result, was_applied=was_applied)
            if (known := _families(observed, adapter)) != families:  # a new Service has just been given its IP families
                wanted = desired(adapter, self._config, known, plan)
                await self._apply_all(wanted, observed, result, was_applied=was_applied)
            await self._prune(adapter, {ref(child) for child in wanted} | plan.kept, observed)
        except OwnershipConflict as conflict:
            result.condition = applied(
                "False", Reason.NAME_CONFLICT, messages.name_conflict(conflict.kind, conflict.name, adapter.key.kind)
            )
            result.again_in = NAME_TAKEN_SECONDS
        except (ApiForbidden, ApiRejected) as refusal:
            _refuse(result, refusal)
        except ApiError as error:
            _fail(result, error)
        return result

    async def _look(self, wanted: Sequence[Json], adapter: Managed, observed: Observed) -> None:
        """Reads what the cache lacks: a miss is not absence, for a foreign object does not carry our labels."""
        missing = [child for child in wanted if ref(child) not in observed.children]
        found = await asyncio.gather(
            *(self._cluster.get(BY_KIND[child["kind"]], adapter.key.namespace, child["metadata"]["name"]) for child in missing)
        )
        for child, live in zip(missing, found, strict=True):
            if live is None:
                self._cache.forget(BY_KIND[child["kind"]], adapter.key.namespace, child["metadata"]["name"])
            elif is_ours(live, adapter.uid):
                observed.children[ref(child)] = live
            elif controlling(live) == adapter.key:  # of an earlier adapter of this name: the garbage collector is on its way
                kind, name = ref(child)
                raise ApiUnavailable(messages.of_deleted(adapter.key.kind), kind=kind, name=name)
            else:
                raise OwnershipConflict(*ref(child))

    async def _apply_all(self, wanted: Sequence[Json], observed: Observed, result: Result, *, was_applied: bool) -> None:
        for child in wanted:
            live = observed.children.get(ref(child))
            path = difference(child, live) if live else ""
            if path is None:
                continue
            try:
                answer = await self._write(child, live)
            except (ApiForbidden, ApiRejected) as refusal:
                _refuse(result, refusal)  # the other children are served all the same
                continue
            except ApiUnavailable as error:
                if error.code == 0:
                    raise  # no answer at all: the next request would wait as long
                _fail(result, error)
                continue
            except ApiConflict:
                if live:
                    self._cache.forget(BY_KIND[child["kind"]], live["metadata"]["namespace"], live["metadata"]["name"])
                raise
            self._cache.put(BY_KIND[child["kind"]], answer)
            observed.children[ref(child)] = answer
            note = _restored(child, live, path, was_applied=was_applied)
            if note:
                result.restored.append((child["kind"], note))

    async def _write(self, child: Json, live: Json | None) -> Json:
        """By apply. Ports that somebody else has put in are replaced before: an apply leaves them, and refuses two of one name."""
        if live is None:
            return await self._cluster.apply(child)
        if foreign_ports(child, live) and _hash(live) == _hash(child):
            live = await self._cluster.replace_ports(with_ports(child, live))
        try:
            return await self._cluster.apply(_onto(child, live))
        except ApiRejected:
            if foreign_ports(child, live):
                live = await self._cluster.replace_ports(with_ports(child, live))
            elif containers := foreign_container_ports(child, live):
                live = await self._cluster.replace_container_ports(live, containers)
            else:
                raise
            return await self._cluster.apply(_onto(child, live))

    async def _prune(self, adapter: Managed, wanted: set[Ref], observed: Observed) -> None:
        """Deletes children that we control and that are no longer desired."""
        for name, child in list(observed.children.items()):
            if name in wanted or child["metadata"].get("deletionTimestamp"):
                continue
            if name[0] == api.SERVICE_ACCOUNT.kind and self._used(name[1], adapter, observed):
                continue  # its tokens end with it, and pods that drain still need theirs; the end of each pod wakes us
            await self._cluster.delete(child)
            del observed.children[name]

    def _used(self, account: str, adapter: Managed, observed: Observed) -> bool:
        """Whether pods run under a ServiceAccount, or more may be made."""
        workloads = [found for kind in (api.DEPLOYMENT, api.STATEFUL_SET) if (found := observed.child(kind, adapter.key.name))]
        if adapter.wanted_replicas > 0 and not any(rolled_out(adapter.wanted_replicas, one) for one in workloads):
            return True  # rolling: the old ReplicaSet may replace a pod that was lost
        specs = [pod.get("spec", {}) for pod in self._cache.labelled(api.POD, adapter.key.namespace, adapter.key.name)]
        specs += [one["spec"]["template"]["spec"] for one in workloads]
        return any(spec.get("serviceAccountName") == account for spec in specs)


def _onto(child: Json, live: Json | None) -> Json:
    """The document to apply: onto that very object (another one of the name answers 409), or a new one."""
    if live is None:
        return child
    return {**child, "metadata": {**child["metadata"], "uid": live["metadata"]["uid"]}}


def _refuse(result: Result, error: ApiForbidden | ApiRejected) -> None:
    """The first refusal is told."""
    result.again_in = REFUSED_SECONDS
    if not result.condition.true:
        return
    if isinstance(error, ApiForbidden):
        text = messages.forbidden(error.verb, error.resource, error.namespace)
        result.condition = applied("False", Reason.FORBIDDEN, text)
    else:
        result.condition = applied("False", Reason.REJECTED, messages.rejected(error.kind, error.name, error.text))


def _fail(result: Result, error: ApiError) -> None:
    """A request that is worth repeating; what is refused for good is told before it."""
    result.retry = error
    if result.condition.true:
        result.condition = applied("False", Reason.APPLY_FAILED, messages.apply_failed(error.kind, error.name, error.text))


def _restored(child: Json, live: Json | None, path: str, *, was_applied: bool) -> Note | None:
    kind, name = ref(child)
    if live is None:
        return Note("Normal", EventReason.CHILD_RESTORED, messages.child_recreated(kind, name)) if was_applied else None
    if _hash(live) != _hash(child):
        return None  # the spec, or what we make of it, changed
    return Note("Normal", EventReason.CHILD_RESTORED, messages.child_corrected(kind, name, path))


def _hash(body: Json) -> str | None:
    value = (body["metadata"].get("annotations") or {}).get(api.APPLIED_HASH_ANNOTATION)
    return str(value) if value else None


def _families(observed: Observed, adapter: Managed) -> tuple[str, ...]:
    service = observed.child(api.SERVICE, adapter.key.name)
    return tuple((service or {}).get("spec", {}).get("ipFamilies") or ())
