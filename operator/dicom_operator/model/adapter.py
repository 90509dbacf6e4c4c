"""A DicomAdapter as the rest of the operator sees it: parsed once, frozen, valid.

The API server has validated the resource already (structural schema and CEL). This is the second line, for a CRD that is older
or newer than this operator: what cannot work is refused with a sentence, what is unknown is left alone. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_operator import messages
from dicom_operator.api import RECONCILE_ANNOTATION, RECONCILE_DISABLED, Json, Key
from dicom_operator.errors import SpecError
from dicom_operator.spec.credentials import credentials
from dicom_operator.spec.delivery import AFTER_SPOOL, delivery
from dicom_operator.spec.destinations import Destination, destinations, names
from dicom_operator.spec.limits import limits
from dicom_operator.spec.peers import called_as, peers, query, services
from dicom_operator.spec.pod import PodOverrides, pod_overrides
from dicom_operator.spec.routes import routes, routing
from dicom_operator.spec.section import Section
from dicom_operator.spec.service import Service, parse_service
from dicom_operator.spec.spool import Claim, bounds, claim
from dicom_operator.spec.store import Store, parse_store
from dicom_operator.spec.titles import ae_title


@dataclass(frozen=True, slots=True)
class DicomAdapter:
    """One resource, whole and valid."""

    key: Key
    uid: str
    generation: int
    ae_title: str
    port: int
    store: Store
    replicas: int
    suspend: bool
    termination_grace_seconds: int
    service: Service
    pod: PodOverrides
    claim: Claim | None
    """The volume claim of each pod; without one there is no spool."""
    secrets: tuple[str, ...]
    config_maps: tuple[str, ...]
    destinations: tuple[Destination, ...]
    adapter_spec: Json
    """The part of the spec that the adapter reads, with every default written out."""

    @property
    def pod_spec(self) -> Json:
        """What the pods read."""
        return self.adapter_spec

    @property
    def spools(self) -> bool:
        """Whether an image is acknowledged when it is on the pod's volume, and delivered afterwards."""
        return bool(self.adapter_spec["delivery"]["acknowledge"] == AFTER_SPOOL)

    @property
    def wanted_replicas(self) -> int:
        """Pods that should run now. Those with a spool go on delivering while nothing is received."""
        return 0 if self.suspend and not self.spools else self.replicas


def is_paused(body: Json) -> bool:
    """Whether the user asked us to leave the children alone."""
    return bool((body["metadata"].get("annotations") or {}).get(RECONCILE_ANNOTATION) == RECONCILE_DISABLED)


def parse(body: Json) -> DicomAdapter:
    """A DicomAdapter from what the API server holds; raises SpecError for the first field that cannot work."""
    metadata = body["metadata"]
    spec = Section(body.get("spec") or {}, "spec")
    store = parse_store(spec.text("dicomStore"))
    found = credentials(spec.section("credentials"), store)
    drain = spec.integer("drainSeconds", 10, 0, 600)
    grace = spec.integer("terminationGracePeriodSeconds", 120, 10, 3600)
    if grace < drain + 10:
        raise SpecError("spec.terminationGracePeriodSeconds", messages.grace_period(drain))
    pod = pod_overrides(spec, metadata["name"])
    service = parse_service(spec.section("service"))
    others = destinations(spec)
    shown = (found, *(destination.credentials for destination in others))
    spool = spec.section("spool")
    delivered, volume = delivery(spec.section("delivery")), claim(spool)
    if delivered["acknowledge"] == AFTER_SPOOL and volume is None:
        raise SpecError("spec.spool.persistent", messages.spool_needed())
    return DicomAdapter(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=metadata["generation"],
        ae_title=ae_title("spec.aeTitle", spec.text("aeTitle")),
        port=spec.integer("port", 11112, 1, 65535),
        store=store,
        replicas=spec.integer("replicas", 1, 0, 32),
        suspend=spec.boolean("suspend"),
        termination_grace_seconds=grace,
        service=service,
        pod=pod,
        claim=volume,
        secrets=tuple(sorted({value["name"] for one in shown for kind, value in one.items() if kind.endswith("Secret")})),
        config_maps=tuple(sorted({one["caBundle"]["configMap"] for one in shown if "caBundle" in one})),
        destinations=others,
        adapter_spec={
            "aeTitle": spec.text("aeTitle"),
            **called_as(spec),
            "acceptedAETitles": [ae_title(f"spec.acceptedAETitles[{i}]", title) for i, title in enumerate(spec.items("acceptedAETitles"))],
            "dicomStore": store.text,
            "credentials": found,
            "delivery": delivered,
            "query": query(spec.section("query")),
            **({"spool": bounds(spool)} if spec.has("spool") else {}),
            "services": services(spec),
            "peers": peers(spec, service),
            "unknownPeers": spec.choice("unknownPeers", "Accept", "Reject"),
            **_routed(spec, others),
            "limits": limits(spec.section("limits")),
            "drainSeconds": drain,
            "terminationGracePeriodSeconds": grace,
            "logLevel": spec.choice("logLevel", "Info", "Debug", "Warning", "Error"),
        },
    )


def _routed(spec: Section, others: Sequence[Destination]) -> Json:
    """Only where something is routed: what stands in every configuration would roll every pod with an upgrade of the operator."""
    found, which = routes(spec, names(others)), routing(spec)
    where: Json = {"destinations": [destination.spec for destination in others]} if others else {}
    return {**where, "routes": found, "routing": which} if found else where
