"""What the life of a node and of an exporter has in common: signals, the HTTP port, and the wait for credentials before the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from aiohttp import web

from dicom_adapter import credentials, messages
from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.environment import CannotRun
from dicom_adapter.health import serve
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import Reason

_CREDENTIALS_SECONDS = 2.0  # between two looks for a missing Secret
_STOP = (signal.SIGTERM, signal.SIGINT)


class State(Protocol):
    """What /status tells."""

    def become(self, reason: Reason, message: str) -> bool:
        """Sets reason and sentence; tells whether that is a change."""


@contextlib.contextmanager
def stop_signals(heard: asyncio.Queue[int]) -> Iterator[None]:
    """SIGTERM and SIGINT go into `heard` for the time of the block."""
    loop = asyncio.get_running_loop()
    for number in _STOP:
        loop.add_signal_handler(number, heard.put_nowait, number)
    try:
        yield
    finally:
        for number in _STOP:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def http(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """The HTTP port, open for the time of the block; gives the port. Raises CannotRun when it is taken."""
    try:
        async with serve(app, host, port) as found:
            yield found
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise CannotRun(messages.no_address("--http_host", host, why(error))) from error
        raise CannotRun(messages.cannot_listen("--http_port", port, why(error))) from error


def why(error: OSError) -> str:
    """`address already in use`."""
    text = error.strerror or str(error)
    return text.rpartition(": ")[2].lower()


async def wait_for_credentials(access: credentials.Access, namespace: str, state: State, log: EventLog, heard: asyncio.Queue[int]) -> bool:
    """Until what the configuration names is mounted and usable; False when a signal came first."""
    while True:
        try:
            await access.prepare()
        except (Missing, Unusable, CredentialsUnavailable) as error:
            reason, text = credentials.explain(error, namespace)
            if state.become(reason, text):
                log.write(Severity.ERROR, str(reason), text)
        else:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(heard.get(), _CREDENTIALS_SECONDS)
            return False
