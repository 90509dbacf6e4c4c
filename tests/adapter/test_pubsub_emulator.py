"""The emulator of Pub/Sub, as strict as the service where ours could get it wrong, and its faults."""

from typing import Any

import aiohttp

from tests.support.pubsub import SUBSCRIPTION, PubSub


async def call(service: PubSub, verb: str, body: object) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(f"{service.url}/v1/{SUBSCRIPTION}:{verb}", json=body) as response:
        return response.status, await response.json()


async def test_a_message_is_pulled_extended_and_acknowledged_over_rest():
    async with PubSub() as service:
        (one,) = await service.publish("dGV4dA", action="StoreInstances")
        status, answer = await call(service, "pull", {"maxMessages": 5})
        (received,) = answer["receivedMessages"]
        assert (status, received["message"]["attributes"]) == (200, {"action": "StoreInstances"})
        assert await call(service, "modifyAckDeadline", {"ackIds": [received["ackId"]], "ackDeadlineSeconds": 60}) == (200, {})
        assert await call(service, "acknowledge", {"ackIds": [received["ackId"]]}) == (200, {})
        message = (await service.messages())[one]
        assert (message.data, message.deliveries, message.acks, message.deadlines) == ("dGV4dA", 1, 1, (60,))


async def test_what_the_service_refuses_is_refused():
    async with PubSub() as service:
        assert (await call(service, "pull", {}))[0] == 400
        assert (await call(service, "acknowledge", {"ackIds": []}))[0] == 400
        assert (await call(service, "modifyAckDeadline", {"ackIds": ["unknown"], "ackDeadlineSeconds": 10}))[0] == 400
        assert (await call(service, "modifyAckDeadline", {"ackIds": ["unknown"], "ackDeadlineSeconds": 601}))[0] == 400


async def test_faults_strike_in_their_order_and_end():
    async with PubSub() as service:
        await service.publish("one", "two")
        await service.fault("pull", status=429, retryAfter="3")
        await service.fault("pull", short=True)
        status, answer = await call(service, "pull", {"maxMessages": 5})
        assert (status, answer["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        (received,) = (await call(service, "pull", {"maxMessages": 5}))[1]["receivedMessages"]
        await service.fault("acknowledge", lost=True)
        assert (await call(service, "acknowledge", {"ackIds": [received["ackId"]]}))[0] == 200
        assert not any(message.acks for message in (await service.messages()).values())
        await service.fault("acknowledge", status=503, keeps=True)
        assert (await call(service, "acknowledge", {"ackIds": [received["ackId"]]}))[0] == 503
        assert sum(message.acks for message in (await service.messages()).values()) == 1
