"""How to reach the API server: one source of credentials, for our client and for kopf alike."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_CERT_FILENAME, SERVICE_TOKEN_FILENAME, InClusterConfigLoader

from dicom_operator import messages
from dicom_operator.errors import StartupError

REREAD_SECONDS = 60
KOPF_SECONDS = 300
"""How long kopf may use a token before it asks again. The kubelet renews a service-account token when a fifth of its life, at
least two minutes of the shortest allowed, is left; kopf keeps a connection for at most 300 s anyway."""


@dataclass(slots=True)
class Connection:
    """The API server's address and our credentials, read again as they are renewed."""

    configuration: Any
    _load: Callable[[Any], Any]
    _clock: Callable[[], float]
    _read_at: float

    @property
    def server(self) -> str:
        """The address, for messages."""
        return str(self.configuration.host)

    async def refresh(self, _: Any = None) -> None:
        """Reads the credentials again when the last reading is a minute old; keeps the old ones when that fails."""
        now = self._clock()
        if now - self._read_at < REREAD_SECONDS:
            return
        self._read_at = now
        fresh = _configuration()
        try:
            await self._load(fresh)
        except (ConfigException, OSError):
            return
        self.configuration.api_key = fresh.api_key

    async def for_kopf(self, now: datetime.datetime) -> kopf.ConnectionInfo:
        """The same connection in kopf's terms.

        The expiration is rounded down, so that credentials which the API server refuses are recognised when they come again:
        kopf then ends the process instead of logging in for ever.
        """
        await self.refresh()
        configuration = self.configuration
        token = str(configuration.api_key.get("BearerToken", ""))
        scheme, _, value = token.partition(" ")
        bucket = int(now.timestamp()) // KOPF_SECONDS + 1
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            ca_data=_as_data(configuration.ca_cert_data),
            insecure=not configuration.verify_ssl,
            scheme=scheme.capitalize() if value else None,
            token=value or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            expiration=datetime.datetime.fromtimestamp(bucket * KOPF_SECONDS, datetime.UTC) if value else None,
        )


async def connect(environment: Mapping[str, str], clock: Callable[[], float]) -> Connection:
    """In a pod its service account, else the kubeconfig; raises StartupError when there is neither."""
    configuration = _configuration()
    if environment.get("KUBERNETES_SERVICE_HOST") and _is_file(SERVICE_TOKEN_FILENAME):
        loader = InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME, try_refresh_token=False, environ=environment)

        async def load(target: Any) -> None:
            loader.load_and_set(target)
    else:
        path = environment.get("KUBECONFIG", "").split(":")[0] or f"{environment.get('HOME', '')}/.kube/config"
        if not _is_file(path):
            raise StartupError(messages.no_credentials())

        async def load(target: Any) -> None:
            await load_kube_config(config_file=path, client_configuration=target, persist_config=False)

    try:
        await load(configuration)
    except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise StartupError(messages.bad_kubeconfig(str(error).splitlines()[0] if str(error) else type(error).__name__)) from error
    connection = Connection(configuration, load, clock, clock())
    if configuration.api_key:
        configuration.refresh_api_key_hook = connection.refresh
    return connection


def _configuration() -> Any:
    return type.__call__(Configuration)  # never the process-wide default copy


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _as_data(data: str | bytes | None) -> str | None:
    if data is None:
        return None
    raw = data.encode() if isinstance(data, str) else data
    return raw.decode() if raw.startswith(b"-----BEGIN") else base64.b64encode(raw).decode()
