"""An exporter whose node speaks DICOM over TLS alone, and wants to see a certificate."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.adapter.test_export import becomes
from tests.support.certificates import Authority
from tests.support.dicom import generated
from tests.support.exporting import Exporter, scene, spec
from tests.support.relay import Relay


def secured(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The document, to a node over TLS."""
    tls = {"caBundle": {"configMap": "hospital-ca"}, "clientCertificateSecret": {"name": "export"}, "serverName": "pacs.example"}
    document["destination"]["peer"]["tls"] = tls | more
    return document


def mount(mounts: Path, authority: Authority) -> None:
    """What the document names, as kubelet would mount it."""
    (mounts / "configmaps" / "hospital-ca").mkdir(parents=True)
    (mounts / "configmaps" / "hospital-ca" / "ca.crt").write_text(authority.certificate)
    authority.issue("export").write(mounts / "secrets" / "export")


async def test_images_go_over_tls_once_there_is_what_it_needs(tmp_path: Path) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path, "pacs.example", clients=True)
    images = [generated(size) for size in (100, 2_000_000, 6_000_000)]  # the last one is streamed
    async with scene() as (store, pubsub, node), Relay(node.port, tls=tls) as front:
        async with Exporter(secured(spec(store, pubsub, front.port)), wait=False) as exporter:
            await exporter.line("ConfigMap 'hospital-ca' does not exist in namespace 'rad'; create it, no restart is needed")
            mount(exporter.mounts, authority)
            await exporter.ready()
            await becomes(exporter, "destination", "Reachable")
            await pubsub.acknowledged(await pubsub.publish(*(store.add(one) for one in images)))
            await front.down()
            ids = await pubsub.publish(store.add(generated(100)))
            await becomes(exporter, "destination", "Refused")
            await front.up()
            messages = await pubsub.acknowledged(ids)
            assert [messages[one].deliveries for one in ids] == [1]
        assert {uid: node.log.received[uid] for uid in (one.sop_instance_uid for one in images)} == {
            one.sop_instance_uid: hashlib.sha256(one.data_set).digest() for one in images
        }


async def test_a_certificate_for_somebody_else_is_said_and_gets_no_image(tmp_path: Path) -> None:
    authority = Authority()
    async with scene() as (store, pubsub, node), Relay(node.port, tls=authority.server_context(tmp_path, "pacs.example")) as front:
        async with Exporter(secured(spec(store, pubsub, front.port), serverName="archive.example"), wait=False) as exporter:
            mount(exporter.mounts, authority)
            await exporter.ready()
            (one,) = await pubsub.publish(store.add(generated(100)))
            await becomes(exporter, "destination", "Unreachable")
            message = (await exporter.status())["destination"]["message"]
            assert f"the certificate of 127.0.0.1:{front.port} is not accepted: Hostname mismatch" in message
            assert "certificate is not valid for 'archive.example'" in message
            assert (await pubsub.messages())[one].acks == 0
        assert not node.log.counts
