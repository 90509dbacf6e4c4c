"""What a DicomExport becomes: its children as documents to apply. Nobody connects to it, so there is no Service. Pure."""

from __future__ import annotations

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model.export import DicomExport
from dicom_operator.render.meta import child, selector
from dicom_operator.render.network import egress, http_from
from dicom_operator.render.pod import Process, config_argument
from dicom_operator.render.workload import ROLLING, configuration, deployment, disruption_budget, sealed, service_account

LEDGER = "ledger"
LEDGER_FILE = f"{api.LEDGER_DIRECTORY}/exported.db"


def desired(export: DicomExport, config: Config) -> list[Json]:
    """Every child that should exist, in the order in which it is applied: what a pod needs comes before the pods."""
    children = [
        service_account(export),
        configuration(export),
        deployment(export, config, _process(export), {"type": "Recreate"} if export.ledger else ROLLING),
        _network_policy(export, config),
    ]
    if export.replicas > 1:
        children.append(disruption_budget(export))
    return sealed(children)


def _process(export: DicomExport) -> Process:
    """What runs in a pod. One process for each ledger: the old pod ends before the new one starts."""
    args, ports = ("export", config_argument(export.key.kind)), (("http", api.HTTP_PORT),)
    if not export.ledger:
        return Process(args, ports)
    return Process(
        (*args, f"--ledger={LEDGER_FILE}"),
        ports,
        ({"name": LEDGER, "mountPath": api.LEDGER_DIRECTORY},),
        ({"name": LEDGER, "persistentVolumeClaim": {"claimName": export.ledger}},),
        owns_volume=True,
    )


def _network_policy(export: DicomExport, config: Config) -> Json:
    """In: HTTP from operator and scrapers. Out: DNS, the store, Pub/Sub, the destination, proxies, token servers."""
    policy = child(api.NETWORK_POLICY, export, export.key.name)
    policy["spec"] = {
        "podSelector": {"matchLabels": selector(export.key)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [http_from(config)],
        "egress": egress(export, export.places, export.credentials, [export.peer] if export.peer else ()),
    }
    return policy
