"""The client over TLS (PS3.15 B): to dcmtk, to a node behind a TLS front, and what is said when the two do not come together."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from dicom_adapter.dimse import AssociationEnded, Limits, PeerAddress, PeerUnreachable, Pool, PresentationContext, SopInstance, Tls, connect
from tests.adapter.dimse.peers import data_set_of, dcmtk
from tests.adapter.dimse.serving import eventually
from tests.support.certificates import Authority
from tests.support.dicom import generated, write_sample
from tests.support.exporting import StoreNode
from tests.support.orthanc import free_port
from tests.support.rawscu import CT_STORAGE, EXPLICIT
from tests.support.relay import Relay

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """A main function on either event loop."""

    def go(main: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await main()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            runner.run(whole())

    return go


def trusting(authority: Authority, directory: Path | None = None) -> Callable[[], ssl.SSLContext]:
    """A client's context; with a directory it shows a certificate of its own."""
    context = ssl.create_default_context(cadata=authority.certificate)
    if directory:
        pair = authority.issue("export").write(directory)
        context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    return lambda: context


@contextmanager
def receiver(directory: Path, authority: Authority):
    """dcmtk's storescp over TLS; it wants a certificate of the authority. Gives its port."""
    pair = authority.issue("pacs", "127.0.0.1").write(directory / "pair")
    (directory / "ca.pem").write_text(authority.certificate)
    (directory / "received").mkdir()
    port = free_port()
    options = ("--bit-preserving", "--unique-filenames", "--output-directory", directory / "received", "+xa")
    tls = ("+tls", pair / "tls.key", pair / "tls.crt", "+cf", directory / "ca.pem")
    process = subprocess.Popen(
        [dcmtk("storescp"), *options, *tls, str(port)], env=os.environ | {"TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL
    )
    listening = f":{port:04X} "
    try:
        eventually(lambda: any(listening in line for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line))
        yield port
    finally:
        process.kill()
        process.wait()


def test_dcmtk_takes_an_image_from_who_shows_a_certificate(run: Run, tmp_path: Path) -> None:
    authority = Authority()
    file = write_sample("CT", tmp_path)
    contexts = [PresentationContext(CT_STORAGE, (EXPLICIT,))]

    async def main() -> None:
        peer = PeerAddress("PACS", "127.0.0.1", port)
        tls = Tls(trusting(authority, tmp_path / "ours"))
        async with await connect(peer, calling_ae_title="EXPORT", contexts=contexts, tls=tls) as association:
            assert (await association.store(SopInstance(CT_STORAGE, "1.2.3", EXPLICIT, data_set_of(file)))).code == 0
        with pytest.raises(AssociationEnded):  # TLS 1.3: the server looks at the certificate after the client's handshake
            await connect(peer, calling_ae_title="EXPORT", contexts=contexts, tls=Tls(trusting(authority)))

    with receiver(tmp_path, authority) as port:
        run(main)
    assert [data_set_of(one) for one in (tmp_path / "received").iterdir()] == [data_set_of(file)]


def test_images_of_many_megabytes_pass_whole_over_associations_that_are_kept(run: Run, tmp_path: Path) -> None:
    authority = Authority()
    images = [generated(size) for size in (100, 3_000_000, 5_000_001)]

    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 70_000):
            yield data[start : start + 70_000]

    async def main() -> None:
        async with StoreNode() as node, Relay(node.port, tls=authority.server_context(tmp_path, "pacs.example")) as front:
            pool = Pool(calling_ae_title="EXPORT", per_peer=2, tls=Tls(trusting(authority), "pacs.example"))
            contexts = [PresentationContext(images[0].sop_class_uid, (EXPLICIT,))]

            async def send(number: int) -> None:
                one = images[number]
                body = pieces(one.data_set) if number % 2 else one.data_set
                async with pool.association(PeerAddress("PACS", "127.0.0.1", front.port), contexts) as association:
                    assert (await association.store(SopInstance(one.sop_class_uid, one.sop_instance_uid, EXPLICIT, body))).code == 0

            await asyncio.gather(*(send(number) for number in range(len(images))))
            await pool.close()
            assert node.log.received == {one.sop_instance_uid: hashlib.sha256(one.data_set).digest() for one in images}

    run(main)


async def refusal(port: int, tls: Tls) -> str:
    with pytest.raises(PeerUnreachable) as caught:
        await connect(
            PeerAddress("PACS", "127.0.0.1", port),
            calling_ae_title="EXPORT",
            contexts=[PresentationContext(CT_STORAGE, (EXPLICIT,))],
            limits=Limits(connect_timeout=20.0),
            tls=tls,
        )
    assert caught.value.cause == "network"
    return str(caught.value).replace(f"127.0.0.1:{port}", "ADDRESS")


def test_a_certificate_that_is_not_accepted_says_why(run: Run, tmp_path: Path) -> None:
    authority, stranger = Authority(), Authority("elsewhere")

    async def main() -> None:
        async with StoreNode() as node, Relay(node.port, tls=authority.server_context(tmp_path)) as front:
            said = "the certificate of ADDRESS is not accepted: "
            assert await refusal(front.port, Tls(trusting(stranger))) == said + "unable to get local issuer certificate"
            wrong = await refusal(front.port, Tls(trusting(authority), "pacs.example"))
            assert wrong == said + "Hostname mismatch, certificate is not valid for 'pacs.example'"

    run(main)


def test_a_node_without_tls_is_said(run: Run) -> None:
    async def main() -> None:
        async with StoreNode() as node:
            said = "ADDRESS and we agree on no TLS: does it speak TLS on this port, and does it want a certificate?"
            assert await refusal(node.port, Tls(trusting(Authority()))) == said

    run(main)
