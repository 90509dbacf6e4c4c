"""Pub/Sub over its REST API: unary pull, acknowledgements, deadlines, and what can go wrong as exceptions with names.

https://cloud.google.com/pubsub/docs/reference/rest. Every call is one request; who calls decides whether it is made again.

    PubSubError              the call was not answered as it should have been; `text` says what to do
      Unreachable            no answer
      Unauthorized           401, 403, or there are no credentials
      SubscriptionNotFound   404
      Invalid                400: the request itself, such as a handle that is none
      Throttled              429; `retry_after` in seconds when it was told
      Unavailable            anything else
        DeadlineExceeded     504
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.delivery import retry
from dicom_adapter.dicomweb.errors import StaleConnection, StoreUnreachable
from dicom_adapter.dicomweb.transport import Transport
from dicom_adapter.dicomweb.upload import Question
from dicom_adapter.export import messages

SHORTEST_DEADLINE, LONGEST_DEADLINE = 10, 600
_JSON = "application/json"
_MAXIMUM_ANSWER = 32 << 20
_PULL_SECONDS = 120.0  # the service lets an empty pull hang for some 90 s
_CALL_SECONDS = 30.0
_DURATION = re.compile(r"(\d{1,12})(?:\.\d+)?s")


class PubSubError(Exception):
    """A call that did not do what it should."""

    reason = "Unreachable"

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.retry_after = retry_after


class Unreachable(PubSubError):
    """No answer."""


class Unauthorized(PubSubError):
    """We may not."""

    reason = "Unauthorized"


class SubscriptionNotFound(PubSubError):
    """There is no such subscription, or topic."""

    reason = "SubscriptionNotFound"


class Invalid(PubSubError):
    """The request is wrong: it is of no use to make it again."""


class Throttled(PubSubError):
    """Too many requests."""

    reason = "Throttled"


class Unavailable(PubSubError):
    """An error of the service."""


class DeadlineExceeded(Unavailable):
    """504: of a pull it says that there was no message for a while."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came: `handle` is what it is acknowledged by, `attempt` is counted only where there is a dead-letter policy."""

    id: str
    handle: str
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    published: float = 0.0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """What of a subscription concerns us: seconds, and whether Pub/Sub itself sets aside what is delivered too often."""

    deadline: int = SHORTEST_DEADLINE
    retention: int | None = None
    dead_letter_after: int = 0


class PubSubClient:
    """Requests about one subscription."""

    def __init__(self, transport: Transport, subscription: str) -> None:
        self._transport = transport
        self._subscription = subscription

    async def close(self) -> None:
        """Closes every connection."""
        await self._transport.close()

    async def describe(self) -> Subscription:
        """The subscription's own settings; needs roles/pubsub.viewer, which nobody has to have."""
        found = await self._ask("GET", f"/v1/{self._subscription}", None, _CALL_SECONDS)
        policy = found.get("deadLetterPolicy")
        attempts = policy.get("maxDeliveryAttempts", 5) if isinstance(policy, dict) and policy.get("deadLetterTopic") else 0
        deadline = found.get("ackDeadlineSeconds")
        retention = _DURATION.fullmatch(str(found.get("messageRetentionDuration", "")))
        return Subscription(
            deadline if isinstance(deadline, int) and 1 <= deadline <= LONGEST_DEADLINE else SHORTEST_DEADLINE,
            int(retention[1]) if retention else None,
            attempts if isinstance(attempts, int) else 5,
        )

    async def pull(self, most: int) -> list[Received]:
        """The next messages, as soon as there is one; none after a while without."""
        try:
            found = await self._ask("POST", f"/v1/{self._subscription}:pull", {"maxMessages": most}, _PULL_SECONDS)
        except DeadlineExceeded:
            return []
        messages_ = found.get("receivedMessages")
        return [received(one) for one in messages_ if isinstance(one, dict)] if isinstance(messages_, list) else []

    async def acknowledge(self, handles: Sequence[str]) -> None:
        """They are done."""
        await self._ask("POST", f"/v1/{self._subscription}:acknowledge", {"ackIds": list(handles)}, _CALL_SECONDS)

    async def modify(self, handles: Sequence[str], seconds: int) -> None:
        """They come again when they are not acknowledged within so many seconds from now: 0 is at once."""
        body = {"ackIds": list(handles), "ackDeadlineSeconds": seconds}
        await self._ask("POST", f"/v1/{self._subscription}:modifyAckDeadline", body, _CALL_SECONDS)

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """A message to a topic."""
        message = {"data": base64.b64encode(data).decode("ascii"), "attributes": dict(attributes)}
        await self._ask("POST", f"/v1/{topic}:publish", {"messages": [message]}, _CALL_SECONDS)

    async def _ask(self, method: str, path: str, body: object, seconds: float) -> dict[str, Any]:
        question = None if body is None else Question(_JSON, json.dumps(body).encode())
        headers = {"Accept": _JSON}
        if question is not None:
            headers |= {"Content-Type": _JSON, "Content-Length": str(question.length)}
        for last in (False, True):
            try:
                async with asyncio.timeout(seconds), self._transport.request(method, path, headers, question) as response:
                    content, truncated = await response.bounded(_MAXIMUM_ANSWER)
                    status, retry_after, again = response.status, response.retry_after, response.again
            except TimeoutError:
                raise Unreachable(messages.pubsub_silent(str(self._transport.endpoint))) from None
            except StaleConnection as error:
                if last:
                    raise Unreachable(messages.pubsub_unreachable(error.comment)) from error
                continue
            except StoreUnreachable as error:
                raise Unreachable(messages.pubsub_unreachable(error.comment)) from error
            except (Missing, Unusable) as error:
                raise Unauthorized(messages.credentials_unusable(error.mounted.what, error.mounted.name)) from error
            except CredentialsUnavailable as error:
                raise Unauthorized(error.text) from error
            if not again or last:
                break
        if status == 200:
            return {} if truncated else _object(content)
        raise _refusal(status, retry_after, self._subscription)


def _refusal(status: int, retry_after: str, subscription: str) -> PubSubError:
    match status:
        case 401 | 403:
            return Unauthorized(messages.pubsub_forbidden(status, subscription))
        case 404:
            return SubscriptionNotFound(messages.pubsub_not_found(subscription))
        case 400:
            return Invalid(messages.pubsub_answers(status))
        case 429:
            return Throttled(messages.pubsub_throttled(), retry.seconds_until(retry_after, time.time()))
        case 504:
            return DeadlineExceeded(messages.pubsub_answers(status))
        case _:
            return Unavailable(messages.pubsub_answers(status), retry.seconds_until(retry_after, time.time()))


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def received(one: dict[str, Any]) -> Received:
    """A message out of a pull's answer, whatever is missing of it."""
    message = one.get("message")
    message = message if isinstance(message, dict) else {}
    attributes = message.get("attributes")
    try:
        data = base64.b64decode(str(message.get("data", "")), validate=True)
    except (binascii.Error, ValueError):
        data = b"\xff"  # no path: it is set aside like any other that says nothing
    attempt = one.get("deliveryAttempt")
    return Received(
        str(message.get("messageId", "")),
        str(one.get("ackId", "")),
        data,
        {str(key): str(value) for key, value in attributes.items()} if isinstance(attributes, dict) else {},
        _seconds(message.get("publishTime")),
        attempt if isinstance(attempt, int) else 0,
    )


def _seconds(text: object) -> float:
    """RFC 3339, with as many digits behind the second as the service likes; 0 when it is none."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)", str(text))
    try:
        if found is None:
            return 0.0
        zone = "+00:00" if found[3] == "Z" else found[3]
        return max(0.0, datetime.fromisoformat(f"{found[1]}{(found[2] or '.0').ljust(7, '0')}{zone}").timestamp())
    except (ValueError, OverflowError):
        return 0.0
