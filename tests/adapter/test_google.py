"""google-auth's own code against a token endpoint on loopback: the bearer token reaches the store, and one is fetched for many images."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.adapter import Adapter
from tests.support.dicom import generated
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore

# Google tokens go to Google's hosts; here loopback stands for them.
LOOPBACK_IS_GOOGLES = """
import os, sys
from dicom_adapter.cli import main
sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr, google_hosts=["127.0.0.1"]))
"""
SPEC = {"credentials": {"googleKeySecret": {"name": "gcs-key"}}}


def key_file(token_uri: str) -> str:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    email = "dicom@p.iam.gserviceaccount.com"
    return json.dumps({"type": "service_account", "private_key_id": "1", "private_key": pem, "client_email": email, "token_uri": token_uri})


def put(adapter: Adapter, key: str) -> None:
    directory = Path(adapter.mounts, "secrets", "gcs-key")
    directory.mkdir(parents=True)
    (directory / "key.json").write_text(key)


async def test_a_service_account_key_becomes_one_bearer_token_for_many_images() -> None:
    asked: list[str] = []

    async def token(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["grant_type"]))
        return web.json_response({"access_token": f"token-{len(asked)}", "expires_in": 3600, "token_type": "Bearer"})

    app = web.Application()
    app.router.add_post("/token", token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    command = (sys.executable, "-c", LOOPBACK_IS_GOOGLES)
    async with FaultStore() as store, Adapter(store.url, spec=SPEC, command=command, wait=False) as adapter:
        await adapter.line("Secret 'gcs-key' does not exist in namespace 'rad'; create it, no restart is needed")
        put(adapter, key_file(endpoint))
        await adapter.ready()
        instances = [generated() for _ in range(40)]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        shares = [asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", f"CT{n}", wire[n::4]) for n in range(4)]
        assert await asyncio.gather(*shares) == [[(0, "")] * 10] * 4
        assert {post.headers["Authorization"] for post in store.posts} == {"Bearer token-1"}
        assert asked == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        assert "token-1" not in str(adapter.lines) + (await adapter.get("/status"))[1]
    await runner.cleanup()
