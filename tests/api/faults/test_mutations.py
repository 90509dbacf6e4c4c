"""Whatever a user writes into a spec: refused at the door with a sentence, or to be seen in what runs, or told in a condition."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from dicom_operator.errors import SpecError
from dicom_operator.model.adapter import parse
from dicom_operator.render.adapter import desired
from tests.api.faults.forked import ForkedOperator
from tests.api.faults.mutations import Mutation, base, mutations
from tests.api.faults.oracle import CONFIG, canonical, children, wait_right, wrong
from tests.api.proxy import Proxy
from tests.api.support import Namespace, Refused
from tests.support.kubernetes import condition, wait_until

ADAPTER = "dicomadapters", "ct-east"
WITHOUT_EFFECT = {
    "credentials.scopes": "only Google's credentials have scopes, and the example has others",
    "service.allowPublicAddress": "it decides what the status says of an address",
    "suspend": "there are no pods to take away",
}
"""Fields that may change without a change of what runs, and why."""


def replace(namespace: Namespace, spec: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
    """Writes the whole spec; raises Refused with the API server's words."""
    query = "?fieldValidation=Strict" + ("&dryRun=All" if dry else "")
    patch = [{"op": "replace", "path": "/spec", "value": spec}]
    return dict(namespace.api.request("PATCH", namespace.path(*ADAPTER) + query, patch, "application/json-patch+json"))


def sample(found: list[Mutation], most: int) -> list[Mutation]:
    """So many of them, spread evenly."""
    return found if len(found) <= most else [found[i * len(found) // most] for i in range(most)]


def test_a_mutation_is_refused_with_a_sentence_or_has_an_effect(fresh: Callable[[], Namespace], long: bool) -> None:
    """By server-side dry-run, with the operator's own parser and render on what the API server would have stored."""
    namespace = fresh()
    namespace.create("dicomadapters", {**_body(), "metadata": {"name": "ct-east", "annotations": PAUSED}})
    stored = namespace.get(*ADAPTER)
    before = _rendered(stored)
    wrong_ones, refused = [], 0
    tried = sample(mutations(), 2000 if long else 100)
    for mutation in tried:
        try:
            answer = replace(namespace, mutation.applied(base()), dry=True)
        except Refused as refusal:
            refused += 1
            names = [str(part) for part in mutation.path]
            if refusal.code not in (400, 422) or not any(name in refusal.message for name in names):
                wrong_ones.append(f"{mutation}: {refusal.code} {refusal.message[:200]}")
            continue
        if mutation.invalid:
            wrong_ones.append(f"{mutation}: accepted")
        try:
            after = _rendered(answer)
        except SpecError as error:
            if not error.message:
                wrong_ones.append(f"{mutation}: no sentence")
            continue
        except Exception:
            wrong_ones.append(f"{mutation}: {traceback.format_exc(limit=-2)}")
            continue
        if after == before and answer["spec"] != stored["spec"] and ".".join(map(str, mutation.path[:2])) not in WITHOUT_EFFECT:
            wrong_ones.append(f"{mutation}: no effect")
    print(f"{len(tried)} mutations tried, {refused} refused, each in words that name the field")
    assert not wrong_ones, "\n".join(wrong_ones)


PAUSED = {"dicomadapter.io/reconcile": "disabled"}


def _body() -> dict[str, Any]:
    return {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "metadata": {"name": "ct-east"}, "spec": base()}


def _rendered(body: dict[str, Any]) -> list[dict[str, Any]]:
    return desired(parse(body), CONFIG)


@pytest.mark.slow
def test_a_mutation_is_served_or_told_and_undone_without_a_trace(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator, long: bool
) -> None:
    """Really: the children are the render, or a condition says why not; the spec of before gives the children of before; and a new
    adapter with the same spec gets the same children."""
    namespace = fresh()
    namespace.create("dicomadapters", _body())
    wait_right(namespace)
    before = canonical(children(namespace, "ct-east"), namespace.name, "ct-east")
    valid = [one for one in mutations() if not one.invalid]
    served = told = 0
    for number, mutation in enumerate(sample(valid, 300 if long else 8)):
        spec = mutation.applied(base())
        try:
            generation = replace(namespace, spec)["metadata"]["generation"]
        except Refused:
            continue
        if ends(namespace, generation) == "":
            served += 1
            if number % 8 == 0:
                other = fresh()
                other.create("dicomadapters", {**_body(), "spec": spec})
                wait_right(other)
                here, there = (canonical(children(one, "ct-east"), one.name, "ct-east") for one in (namespace, other))
                assert here == there, str(mutation)
        else:
            told += 1
        replace(namespace, base())
        wait_right(namespace)
        assert canonical(children(namespace, "ct-east"), namespace.name, "ct-east") == before, str(mutation)
    print(f"{served} mutations served, {told} told in a condition, each undone")
    assert served > 0
    assert operator.calm()


def ends(namespace: Namespace, generation: int) -> str:
    """How the operator has served a generation: an empty string, or the reason and the sentence of its condition."""

    def served() -> tuple[str] | None:
        body = namespace.get(*ADAPTER)
        applied = condition(body, "Applied")
        if applied.get("observedGeneration") != generation:
            return None
        if applied["status"] == "True":
            return ("",) if not wrong(namespace, rolled=False) else None
        assert applied["message"]
        return (f"{applied['reason']}: {applied['message']}",) if applied["reason"] != "ApplyFailed" else None

    return wait_until("served or told", served, seconds=30, every=0.03)[0]  # type: ignore[index]
