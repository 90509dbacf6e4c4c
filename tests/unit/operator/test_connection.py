"""One source of credentials for kopf and for us, read again as they are renewed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from dicom_operator.apiserver import connection
from dicom_operator.apiserver.connection import connect
from dicom_operator.errors import StartupError

NOON = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that Kubernetes mounts into a pod."""
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_text("certificate")
    monkeypatch.setattr(connection, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(connection, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    return tmp_path


ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


async def authorization(found: connection.Connection) -> str:
    """What our own client sends."""
    settings = await found.configuration.auth_settings()
    return str(settings["BearerToken"]["value"])


async def test_in_a_pod_the_token_is_read_again_after_a_minute(pod: Path):
    clock = Clock()
    found = await connect(ENVIRONMENT, clock)
    assert found.server == "https://10.96.0.1:443"
    assert await authorization(found) == "bearer first"
    (pod / "token").write_text("second")
    clock.now = 59
    assert await authorization(found) == "bearer first"
    clock.now = 61
    assert await authorization(found) == "bearer second"
    (pod / "token").unlink()
    clock.now = 200
    assert await authorization(found) == "bearer second"  # better an old token than none


async def test_kopf_gets_the_same(pod: Path):
    found = await connect(ENVIRONMENT, Clock())
    info = await found.for_kopf(NOON)
    assert info.as_http_headers() == {"Authorization": "Bearer first"}
    assert (info.server, info.ca_path) == ("https://10.96.0.1:443", str(pod / "ca.crt"))
    assert info.expiration == NOON + datetime.timedelta(minutes=5)


async def test_refused_credentials_come_again_as_the_same_so_that_kopf_ends(pod: Path):
    found = await connect(ENVIRONMENT, Clock())
    assert await found.for_kopf(NOON) == await found.for_kopf(NOON + datetime.timedelta(seconds=100))


def kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> dict[str, str]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path)}


async def test_a_kubeconfig_with_a_token(tmp_path: Path):
    found = await connect(kubeconfig(tmp_path / "config", {"token": "abc"}), Clock())
    assert (await found.for_kopf(NOON)).as_http_headers() == {"Authorization": "Bearer abc"}


async def test_a_kubeconfig_without_credentials_never_expires(tmp_path: Path):
    found = await connect(kubeconfig(tmp_path / "config", {}), Clock())
    info = await found.for_kopf(NOON)
    assert (info.as_http_headers(), info.expiration) == ({}, None)


async def test_the_kubeconfig_of_the_home_directory(tmp_path: Path):
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", {"token": "abc"})
    assert (await connect({"HOME": str(tmp_path)}, Clock())).server == "https://127.0.0.1:6443"


async def test_nothing_to_connect_to(tmp_path: Path):
    with pytest.raises(StartupError, match=r"^no cluster to talk to: run it in a pod, or let KUBECONFIG name"):
        await connect({"HOME": str(tmp_path)}, Clock())


async def test_a_kubeconfig_that_is_none(tmp_path: Path):
    path = tmp_path / "config"
    path.write_text("{}")
    with pytest.raises(StartupError, match=r"^the kubeconfig cannot be used: "):
        await connect({"KUBECONFIG": str(path)}, Clock())
