"""The two ends of an exporter that speak HTTP, each by itself: Pub/Sub's client, and a DICOMweb service as destination."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from dicom_adapter.auth.mounted import Missing, Mounted
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.dicomweb.client import DicomwebClient, InstancePath
from dicom_adapter.dicomweb.proxies import NO_PROXIES
from dicom_adapter.dicomweb.transport import Transport
from dicom_adapter.export import pubsub
from dicom_adapter.export.events import Event, Reason, Result, Trouble
from dicom_adapter.export.fetch import Image
from dicom_adapter.export.native import MOST_BYTES, Native
from dicom_adapter.export.pubsub import PubSubClient, Subscription
from dicom_adapter.export.web import WebDestination
from dicom_adapter.transform.transcode import CannotConvert
from tests.support.dicom import generated
from tests.support.exporting import part10
from tests.support.faults import Reply
from tests.support.orthanc import free_port
from tests.support.store import FaultStore, failed_json

SUBSCRIPTION = "projects/p/subscriptions/s"
Headers = Callable[[], Awaitable[Mapping[str, str]]]


class _Uncounted:
    def request_ended(self, method: str, code: str, seconds: float) -> None: ...


async def none() -> Mapping[str, str]:
    return {}


async def missing() -> Mapping[str, str]:
    raise Missing(Mounted("Secret", "key", "key.json", Path("/nowhere")), [])


async def unavailable() -> Mapping[str, str]:
    raise CredentialsUnavailable("no token can be had")


# -- Pub/Sub -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def service(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], headers: Headers = none) -> AsyncIterator[PubSubClient]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = _client(runner.addresses[0][1], headers)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def _client(port: int, headers: Headers = none) -> PubSubClient:
    transport = Transport(
        f"http://127.0.0.1:{port}",
        headers=headers,
        refused=None,
        tls=lambda: None,
        observer=_Uncounted(),
        connections=2,
        user_agent="test",
        proxies=NO_PROXIES,
    )
    return PubSubClient(transport, SUBSCRIPTION)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, pubsub.Invalid, "Unreachable"),
        (401, pubsub.Unauthorized, "Unauthorized"),
        (403, pubsub.Unauthorized, "Unauthorized"),
        (404, pubsub.SubscriptionNotFound, "SubscriptionNotFound"),
        (429, pubsub.Throttled, "Throttled"),
        (500, pubsub.Unavailable, "Unreachable"),
    ],
)
async def test_each_refusal_of_pub_sub_has_a_name(status: int, kind: type[pubsub.PubSubError], reason: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "7"})

    async with service(answer) as client:
        with pytest.raises(kind) as error:
            await client.acknowledge(["a"])
    assert error.value.reason == reason
    assert error.value.retry_after == (7.0 if status in (429, 500) else None)


async def test_a_pull_that_says_nothing_useful_is_no_message() -> None:
    bodies = iter([b"", b"[]", b"no JSON", b'{"receivedMessages": 3}', b'{"receivedMessages": [1]}'])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=next(bodies), content_type="application/json")

    async with service(answer) as client:
        assert [await client.pull(5) for _ in range(5)] == [[]] * 5


async def test_what_a_subscription_says_of_itself() -> None:
    bodies = iter(
        [
            {"ackDeadlineSeconds": 60, "messageRetentionDuration": "604800s", "deadLetterPolicy": {"deadLetterTopic": "t"}},
            {"ackDeadlineSeconds": "x", "messageRetentionDuration": "soon", "deadLetterPolicy": {}},
        ]
    )

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(next(bodies))

    async with service(answer) as client:
        assert await client.describe() == Subscription(60, 604_800, 5)
        assert await client.describe() == Subscription()


async def test_a_kept_connection_that_was_closed_meanwhile_is_made_again_without_a_word() -> None:
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 2:
            assert request.transport
            request.transport.abort()
        return web.json_response({})

    async with service(answer) as client:
        for _ in range(3):
            await client.acknowledge(["a"])
    assert asked == 4


async def test_no_answer_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "_CALL_SECONDS", 0.2)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with service(answer) as client:
        with pytest.raises(pubsub.Unreachable, match="gives no answer"):
            await client.acknowledge(["a"])
    client = _client(free_port())
    with pytest.raises(pubsub.Unreachable, match="refused the connection"):
        await client.acknowledge(["a"])
    await client.close()


@pytest.mark.parametrize(
    ("headers", "text"), [(missing, "Secret 'key' is not usable; correct it, no restart is needed"), (unavailable, "no token can be had")]
)
async def test_without_credentials_pub_sub_is_not_asked(headers: Headers, text: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise AssertionError

    async with service(answer, headers) as client:
        with pytest.raises(pubsub.Unauthorized) as error:
            await client.acknowledge(["a"])
    assert error.value.text == text


# -- a DICOMweb service as destination ---------------------------------------------------------------


@contextlib.asynccontextmanager
async def destination(url: str, headers: Headers = none) -> AsyncIterator[WebDestination]:
    client = DicomwebClient(url, headers=headers, tls=lambda: None, observer=_Uncounted(), connections=2, user_agent="test")
    async with client:
        yield WebDestination(client)


def image() -> Image:
    one = generated(5000)
    content = part10(one)
    path = InstancePath("1.2", "1.3", one.sop_instance_uid)
    offset = 144 + int.from_bytes(content[140:144], "little")
    return Image(path, one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, content, offset)


@pytest.mark.parametrize(
    ("reply", "event", "reason"),
    [
        (Reply(), Event.STORED, Reason.FAILING),
        (Reply(401, ""), Event.DESTINATION_UNAVAILABLE, Reason.UNAUTHORIZED),
        (Reply(404, ""), Event.DESTINATION_UNAVAILABLE, Reason.NOT_FOUND),
        (Reply(429, ""), Event.DESTINATION_UNAVAILABLE, Reason.THROTTLED),
        (Reply(503, ""), Event.DESTINATION_UNAVAILABLE, Reason.FAILING),
        (Reply(409, "", "text/plain"), Event.REFUSED, Reason.FAILING),
        (Reply(instead="reset"), Event.CUT_OFF, Reason.UNREACHABLE),
    ],
)
async def test_what_the_destination_answers(reply: Reply, event: Event, reason: Reason) -> None:
    async with FaultStore() as store, destination(store.url) as there:
        store.script.append(reply)
        result = await there.send(image())
        assert result.event is event
        if event is not Event.STORED:
            assert (result.reason, bool(result.text)) == (reason, True)


async def test_an_image_named_as_failed_is_refused() -> None:
    one = image()
    async with FaultStore() as store, destination(store.url) as there:
        store.script.append(Reply(202, failed_json(one.sop_instance_uid, 0xA900)))
        assert (await there.send(one)).event is Event.REFUSED


async def test_the_probe_of_a_destination() -> None:
    async with FaultStore() as store, destination(store.url) as there:
        assert await there.probe() is None
        store.search_reply = Reply(405, "")  # it only takes images: it is there
        assert await there.probe() is None
        store.search_reply = Reply(403, "")
        assert await there.probe() == Trouble(
            Reason.UNAUTHORIZED, "the destination answers 403 Forbidden: check spec.destination.dicomweb.credentials"
        )
    async with destination(f"http://127.0.0.1:{free_port()}/w") as there:
        found = await there.probe()
        assert found is not None
        assert found.reason is Reason.UNREACHABLE
        result = await there.send(image())
        assert (result.event, result.reason) == (Event.DESTINATION_UNAVAILABLE, Reason.UNREACHABLE)


@pytest.mark.parametrize(
    ("headers", "text"), [(missing, "Secret 'key' is not usable; correct it, no restart is needed"), (unavailable, "no token can be had")]
)
async def test_without_its_credentials_a_destination_is_not_asked(headers: Headers, text: str) -> None:
    async with FaultStore() as store, destination(store.url, headers) as there:
        assert await there.send(image()) == Result(Event.DESTINATION_UNAVAILABLE, text, Reason.UNAUTHORIZED)
        assert await there.probe() == Trouble(Reason.UNAUTHORIZED, text)
        assert not store.posts


# -- uncompressed ------------------------------------------------------------------------------------


class _Converter:
    async def convert(self, content: bytes, source: str, target: str) -> bytes:
        return content[::-1]


async def test_a_large_image_is_collected_before_it_is_converted_and_one_that_is_too_large_is_not() -> None:
    one = image()

    async def rest(pieces: int) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield bytes(1 << 20)

    whole = one.head[one.offset :]
    native = Native(_Converter())  # type: ignore[arg-type]
    assert await native(one, "1.2.840.10008.1.2") == whole[::-1]
    one.rest = rest(2)
    assert await native(one, "1.2.840.10008.1.2") == bytes(2 << 20) + whole[::-1]
    large = image()
    large.rest = rest((MOST_BYTES >> 20) + 1)
    with pytest.raises(CannotConvert, match="larger than 512 MiB"):
        await native(large, "1.2.840.10008.1.2")
