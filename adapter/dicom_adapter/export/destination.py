"""What a destination is to the exporter: somewhere an image goes in one attempt, and that can be asked whether it is there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from dicom_adapter.export.events import Result, Trouble
from dicom_adapter.export.fetch import Image


class Lane(Protocol):
    """The way of one image after another."""

    async def send(self, image: Image) -> Result:
        """One attempt; the exceptions of the image's own stream are passed on, as Failed."""


class Destination(Lane, Protocol):
    """A node or a store."""

    def lane(self) -> AbstractAsyncContextManager[Lane]:
        """A way for the images of one study: a node sees one association from the first to the last of them."""

    async def probe(self) -> Trouble | None:
        """Asks whether it is there; gives what is wrong."""

    async def close(self) -> None:
        """Ends every connection."""
