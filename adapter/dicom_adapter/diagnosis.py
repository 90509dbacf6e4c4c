"""From what the probe met to the reason and the sentence that /status, the condition and the log show: what is wrong and what to do.

https://cloud.google.com/healthcare-api/docs/how-tos/dicomweb has the permissions and roles.
"""

from __future__ import annotations

import re

from dicom_adapter.config import Acknowledge, Config, CredentialKind, Credentials
from dicom_adapter.dicomweb.answers import Problem, is_web_page, problem
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import UNKNOWN_CA, Obstacle, StoreUnreachable
from dicom_adapter.state import StoreReason, StoreState

REACHABLE = StoreState(StoreReason.REACHABLE, "the store answers")
_PERMISSION = re.compile(r"healthcare\.[A-Za-z]+\.[A-Za-z]+")
_NOT_ENABLED = re.compile(r"has not been used in project (\S{1,63}) before or it is disabled")
_EDITED = ("healthcare.dicomStores.dicomWebRead", "healthcare.dicomStores.dicomWebWrite")
_MESSAGE_LENGTH = 600
_NO_BASE_URL = "is it the base URL of a DICOMweb service? correct spec.dicomStore"
_NOT_ACCEPTED = "are not accepted; renew them, no restart is needed"


def of_answer(answer: Answer, config: Config, identity: str) -> StoreState:
    """What the answer to a search means."""
    status, told = answer.status, problem(answer)
    says = f"the store answers {status} {told.status}"
    if status < 300 and is_web_page(answer):
        return StoreState(StoreReason.NOT_FOUND, f"the store answers {status} with a web page: {_NO_BASE_URL}")
    if status < 300:
        return REACHABLE
    if status == 401:
        return StoreState(StoreReason.UNAUTHORIZED, f"{says}: {_unauthenticated(config.credentials)}")
    if status == 403:
        return StoreState(StoreReason.UNAUTHORIZED, f"{says}: {_forbidden(told, identity)}")
    if status == 404 and config.store.healthcare_path:
        return StoreState(StoreReason.NOT_FOUND, f"{says}: create {config.store.healthcare_path} or correct spec.dicomStore")
    if status == 404:
        return StoreState(StoreReason.NOT_FOUND, f"{says}: correct spec.dicomStore{_quoted(told)}")
    if 300 <= status < 400:
        return StoreState(StoreReason.NOT_FOUND, f"{says}, a redirect: correct spec.dicomStore")
    if status in (405, 410, 421):
        return StoreState(StoreReason.NOT_FOUND, f"{says}: {_NO_BASE_URL}")
    if status == 429:
        return StoreState(
            StoreReason.THROTTLED,
            f"the store asks to slow down (429 {told.status}): raise its quota or set spec.delivery.maxRequestsPerMinute",
        )
    if status >= 500 and status != 501:
        spooled = config.delivery.acknowledge is Acknowledge.AFTER_SPOOL
        what = "images wait in the spool, senders are not affected" if spooled else "senders get A700 and keep their images"
        return StoreState(StoreReason.UNREACHABLE, f"{says}: {what}")
    return StoreState(StoreReason.REACHABLE, f"{says} to a search, so it is there; whether it stores is not known")


def _unauthenticated(credentials: Credentials) -> str:
    secret = credentials.secret
    match credentials.kind:
        case CredentialKind.NONE:
            return "it wants credentials; name them in spec.credentials"
        case CredentialKind.GOOGLE_DEFAULT:
            return "the pod's own Google credentials are not accepted; check its workload identity"
        case CredentialKind.BASIC if secret:
            return f"the credentials in Secret '{secret.name}', keys 'username' and 'password', {_NOT_ACCEPTED}"
        case CredentialKind.CLIENT_CERTIFICATE if secret:
            return f"the certificate in Secret '{secret.name}' is not enough; renew it, or ask what the store wants beside it"
        case _ if secret:
            return f"the credentials in Secret '{secret.name}', key '{secret.key}', {_NOT_ACCEPTED}"
    return "the credentials are not accepted"


def _forbidden(told: Problem, identity: str) -> str:
    """What to do about a 403, and the store's own words."""
    if project := _NOT_ENABLED.search(told.message):
        remedy = f"`gcloud services enable healthcare.googleapis.com --project={project[1]}`"
        return f"the Cloud Healthcare API is not enabled: {remedy}, then wait a few minutes{_quoted(told)}"
    if "insufficient authentication scopes" in told.message:
        return (
            "the token lacks the scope https://www.googleapis.com/auth/cloud-healthcare: name it in spec.credentials.scopes; "
            f"without workload identity a GKE node pool must have been created with it, or with cloud-platform{_quoted(told)}"
        )
    permission = _PERMISSION.search(told.message)
    if permission and told.status == "PERMISSION_DENIED":
        typo = ", or correct spec.dicomStore" if "may not exist" in told.message else ""
        return _may_not(permission.group(), identity) + typo + _quoted(told)
    return told.message[:_MESSAGE_LENGTH] or f"{_who(identity)} has no access to it"


def permission_missing(permission: str, identity: str) -> StoreState:
    """What the store says when it is asked which permissions we have."""
    return StoreState(StoreReason.UNAUTHORIZED, f"the store answers that {_may_not(permission, identity)}")


def _may_not(permission: str, identity: str) -> str:
    role = "roles/healthcare.dicomEditor on the dataset" if permission in _EDITED else "a role that has it on the dataset"
    return f"{_who(identity)} may not {permission}; grant it {role}"


def _who(identity: str) -> str:
    return f"'{identity}'" if identity else "the adapter's account"


def _quoted(told: Problem) -> str:
    """The store's own words, behind ours."""
    return f"; it says: {told.message[:_MESSAGE_LENGTH]}" if told.message else ""


def of_failure(error: StoreUnreachable, *, issuer: str = "", over_tls: Credentials | None = None) -> StoreState:
    """What no answer means. `issuer` has signed a certificate that is not trusted; `over_tls`: what we have shown in a handshake."""
    shown = ""  # asyncio drops the alert that would tell
    if over_tls and over_tls.kind is CredentialKind.CLIENT_CERTIFICATE and over_tls.secret:
        shown = f": perhaps it does not accept the certificate in Secret '{over_tls.secret.name}'"
    elif over_tls and over_tls.kind is CredentialKind.NONE:
        shown = ": perhaps it wants a client certificate; name one in spec.credentials.clientCertificateSecret"
    return StoreState(StoreReason.UNREACHABLE, _failure(error, issuer, shown))


def _failure(error: StoreUnreachable, issuer: str, shown: str) -> str:
    endpoint = error.endpoint
    where = f"{endpoint} ({endpoint.host})" if endpoint.address and endpoint.address != endpoint.host else str(endpoint)
    match error.obstacle:
        case Obstacle.DNS:
            why = error.detail or "NXDOMAIN"
            return f"'{endpoint.host}' cannot be resolved in the pod ({why}): check spec.dicomStore and the cluster's DNS"
        case Obstacle.REFUSED:
            return f"{where} refuses connections"
        case Obstacle.SILENT:
            return f"{where} gives no answer: is a firewall or NetworkPolicy in the way?"
        case Obstacle.TLS if error.detail == UNKNOWN_CA:
            signer = f"unknown '{issuer}'" if issuer else "an unknown CA"
            return (
                f"the certificate of {endpoint.host} is signed by {signer}: "
                "put that CA into a ConfigMap and name it in spec.credentials.caBundle"
            )
        case Obstacle.TLS:
            return f"TLS with {endpoint.host} fails: {error.detail}"
        case Obstacle.PROXY:
            return f"{error.detail}: check spec.credentials.proxy, or HTTPS_PROXY and NO_PROXY where the adapter runs"
        case Obstacle.LOST:
            return f"{where} closes the connection without an answer{shown}"
        case _:
            return f"{where} cannot be reached: {error.detail}"
