"""The WorkloadAvailable condition: what the Deployment, its pods and the adapters themselves say. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from dicom_operator import api, messages
from dicom_operator.api import ConditionType, Json, Reason
from dicom_operator.observed.objects import PodReport, has_ordinal
from dicom_operator.render import workload as render_workload
from dicom_operator.status.conditions import Condition

PULL_FAILURES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
TOLD = frozenset({Reason.SECRET_MISSING, Reason.SPOOL_FAULTY})
"""What an adapter itself says."""
STARTING = frozenset({"ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
LAST_LINE = 400

# The kubelet tells the same failure in two texts by turns (ErrImagePull, ImagePullBackOff). What they share is kept, so that the
# condition does not change every few seconds.
_PULL_NOISE = re.compile(
    r'^(?:Back-off pulling image "[^"]*"(?:: |$)|ErrImagePull: |rpc error: code = \w+ desc = '
    r'|failed to pull and unpack image "[^"]*": |failed to resolve (?:reference|image) "[^"]*": '
    r'|[a-z0-9][^\s"]*[:@][^\s":]+: (?=not found$))'
)


def serves(wanted: int, workload: Json, pods: Sequence[Json]) -> bool:
    """Whether the wanted pods of this generation serve.

    The pods must say so themselves: for a moment what a Deployment counts of this generation is what its ReplicaSets had counted of one
    before. Scaled down and up again it counts pods that are gone.
    """
    return rolled_out(wanted, workload) and ready_pods(workload, pods) >= wanted


def rolled_out(wanted: int, workload: Json) -> bool:
    """Whether its controller counts the wanted pods; of a Deployment no others, of a StatefulSet those that leave may be there."""
    status = workload.get("status") or {}
    total, updated, ready = (status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"] or updated != total:
        return False
    if workload["kind"] == api.STATEFUL_SET.kind:
        return bool(total == workload["spec"].get("replicas", 0) >= wanted and ready >= wanted)
    return bool(total == ready == wanted)


def ready_pods(workload: Json, pods: Sequence[Json]) -> int:
    """How many of the living pods of a Deployment or StatefulSet are ready."""
    numbered = workload["kind"] == api.STATEFUL_SET.kind
    return sum(has_ordinal(pod) == numbered and condition_of(pod, "Ready", "True") is not None for pod in pods)


def lacks_pods(workload: Json | None) -> bool:
    """Whether pods of a StatefulSet could not even be made: a Deployment has a condition for it."""
    if workload is None or workload["kind"] != api.STATEFUL_SET.kind:
        return False
    status = workload.get("status") or {}
    return bool(status.get("observedGeneration") and status.get("replicas", 0) < workload["spec"].get("replicas", 0))


def available(
    wanted: int, deployment: Json | None, pods: Sequence[Json], reports: Mapping[str, PodReport | None], event: str = "", at_zero: str = ""
) -> Condition:
    """Whether the wanted pods of this generation, and no others, serve. `event`: why a StatefulSet has too few. `at_zero`: a sentence."""
    if deployment is None:
        return not_observed(messages.workload_not_observed())
    if wanted == 0:
        return _condition("False", Reason.SCALED_TO_ZERO, at_zero or messages.scaled_to_zero())
    status = deployment.get("status") or {}
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    ready, updated, total = (status.get(name, 0) for name in ("readyReplicas", "updatedReplicas", "replicas"))
    ready = min(ready, ready_pods(deployment, pods))
    if serves(wanted, deployment, pods):
        return _condition("True", Reason.MINIMUM_REPLICAS_AVAILABLE, messages.replicas_ready(min(ready, wanted), wanted))
    if failure := condition_of(deployment, "ReplicaFailure", "True"):
        return _condition("False", Reason.REPLICA_FAILURE, failure.get("message", ""))
    if event:
        return _condition("False", Reason.REPLICA_FAILURE, event)
    for check in CHECKS:
        for pod in pods:
            if found := check(pod):
                return found
    unready = [report for pod in pods if (report := reports.get(pod["metadata"]["uid"])) and not report.ready]
    for report in unready:
        if report.reason in TOLD:
            return _condition("False", Reason(report.reason), report.message)
    if deadline_exceeded(deployment):
        return _condition("False", Reason.PROGRESS_DEADLINE_EXCEEDED, messages.progress_deadline(render_workload.PROGRESS_DEADLINE_SECONDS))
    if current and updated == wanted and status.get("availableReplicas", 0) >= wanted and total > wanted:
        return _condition("False", Reason.ROLLING_OUT, messages.old_replicas_leaving())
    detail = next((report.message for report in unready if report.message), "") or next(filter(None, map(_waiting, pods)), "")
    if ready >= wanted and not detail:
        return _condition("False", Reason.ROLLING_OUT, messages.new_replicas_starting())
    return _condition("False", Reason.ROLLING_OUT, messages.waiting_for_rollout(min(ready, wanted), wanted, detail))


def not_observed(message: str) -> Condition:
    """Nothing can be said of pods."""
    return _condition("Unknown", Reason.NOT_OBSERVED, message)


def deadline_exceeded(deployment: Json | None) -> bool:
    """Whether the Deployment controller gave the rollout up (KEP: progressDeadlineSeconds)."""
    found = condition_of(deployment, "Progressing", "False") if deployment else None
    return bool(found and found.get("reason") == "ProgressDeadlineExceeded")


def condition_of(body: Json, kind: str, status: str) -> Json | None:
    """A condition of a workload or a pod that has this status."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item["type"] == kind and item["status"] == status), None)


def pull_failure(text: str) -> str:
    """The kubelet's text without what changes by turns and what the sentence says already."""
    while (shorter := _PULL_NOISE.sub("", text)) != text:
        text = shorter
    return text or "cannot be pulled"


def _image_pull(pod: Json) -> Condition | None:
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in PULL_FAILURES:
            text = messages.image_pull_failed(_name(pod), _image(pod, container), pull_failure(waiting.get("message", "")))
            return _condition("False", Reason.IMAGE_PULL_FAILED, text)
    return None


def _out_of_memory(pod: Json) -> Condition | None:
    for container, ended in _ended(pod):
        if ended.get("reason") == "OOMKilled":
            exporter = (pod["metadata"].get("labels") or {}).get(api.COMPONENT_LABEL) == api.COMPONENTS[api.EXPORT.kind]
            lower = {"lower": "spec.delivery.maxConcurrentFetches"} if exporter else {}
            text = messages.out_of_memory(_name(pod), _memory_limit(pod, container["name"]), **lower)
            return _condition("False", Reason.OUT_OF_MEMORY, text)
    return None


def _crash_loop(pod: Json) -> Condition | None:
    for _, ended in _ended(pod):
        lines = [line.strip() for line in ended.get("message", "").splitlines() if line.strip()]
        last = lines[-1][:LAST_LINE] if lines else ""
        return _condition("False", Reason.CRASH_LOOPING, messages.crash_looping(_name(pod), ended.get("exitCode", 0), last))
    return None


def _unschedulable(pod: Json) -> Condition | None:
    found = condition_of(pod, "PodScheduled", "False")
    if found and found.get("reason") == "Unschedulable":
        return _condition("False", Reason.UNSCHEDULABLE, found.get("message", ""))
    return None


CHECKS: Sequence[Callable[[Json], Condition | None]] = (_image_pull, _out_of_memory, _crash_loop, _unschedulable)
"""What a pod can say, most telling first."""


def _ended(pod: Json) -> list[tuple[Json, Json]]:
    """Containers that are not ready and ended before, with how they ended last."""
    found: list[tuple[Json, Json]] = []
    for container in _containers(pod):
        ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
        if ended and not container.get("ready"):
            found.append((container, ended))
    return found


def _waiting(pod: Json) -> str:
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in STARTING:
            return messages.pod_waits(_name(pod), waiting["reason"], waiting.get("message", ""))
    return ""


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _image(pod: Json, container: Json) -> str:
    specs = pod.get("spec", {})
    wanted = next((item["image"] for item in specs.get("containers", ()) if item["name"] == container["name"]), None)
    return str(wanted or container.get("image", ""))


def _memory_limit(pod: Json, container: str) -> str:
    found: Json = next((item for item in pod.get("spec", {}).get("containers", ()) if item["name"] == container), {})
    return str(((found.get("resources") or {}).get("limits") or {}).get("memory", ""))


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])


def _condition(status: str, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.WORKLOAD_AVAILABLE, status, reason, message)  # type: ignore[arg-type]
