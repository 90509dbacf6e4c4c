"""`credentials`: how the adapter shows itself to the store, and the way there."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec.section import Section
from dicom_operator.spec.store import Store

HEALTHCARE_SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"
CREDENTIAL_KINDS = (
    "googleApplicationDefault",
    "googleKeySecret",
    "bearerTokenSecret",
    "basicAuthSecret",
    "clientCertificateSecret",
    "none",
)
HTTP_PROXY = re.compile(r"http://([^/@?#:\s\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def credentials(section: Section, store: Store) -> Json:
    """The section with its defaults; the default kind depends on the store."""
    found = [kind for kind in CREDENTIAL_KINDS if section.has(kind)]
    if len(found) > 1:
        raise SpecError(section.path, messages.one_of(CREDENTIAL_KINDS, found))
    insecure = section.boolean("allowInsecure")
    result: Json = {"allowInsecure": insecure}
    kind = found[0] if found else ("googleApplicationDefault" if store.healthcare else "none")
    chosen = section.section(kind)
    match kind:
        case "googleKeySecret":
            result[kind] = {"name": chosen.text("name"), "key": chosen.text("key", "key.json")}
        case "bearerTokenSecret":
            result[kind] = {"name": chosen.text("name"), "key": chosen.text("key", "token")}
        case "basicAuthSecret" | "clientCertificateSecret":
            result[kind] = {"name": chosen.text("name")}
        case _:
            result[kind] = {}
    if kind in ("bearerTokenSecret", "basicAuthSecret") and not store.secure and not insecure:
        raise SpecError(f"{section.path}.allowInsecure", messages.insecure_credentials())
    if kind == "clientCertificateSecret" and not store.secure:
        raise SpecError(f"{section.path}.clientCertificateSecret", messages.certificate_without_tls())
    if kind.startswith("google"):
        result["scopes"] = section.items("scopes") or [HEALTHCARE_SCOPE]
    if section.has("proxy"):
        result["proxy"] = _proxy(section)
    return result | _ca_bundle(section)


def tls(section: Section) -> Json:
    """A section that has of credentials what TLS needs, and nothing else."""
    result = _ca_bundle(section)
    if section.has("clientCertificateSecret"):
        result["clientCertificateSecret"] = {"name": section.section("clientCertificateSecret").text("name")}
    return result


def _ca_bundle(section: Section) -> Json:
    if not section.has("caBundle"):
        return {}
    bundle = section.section("caBundle")
    return {"caBundle": {"configMap": bundle.text("configMap"), "key": bundle.text("key", "ca.crt")}}


def _proxy(section: Section) -> str:
    text = section.text("proxy").rstrip("/")
    try:
        good = HTTP_PROXY.fullmatch(text) and urlsplit(text).port != 0
    except ValueError:  # a port above 65535, an address that is none
        good = False
    if not good:
        raise SpecError(f"{section.path}.proxy", messages.proxy())
    return text
