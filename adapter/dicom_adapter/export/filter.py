"""`spec.filter`: which of what arrives is exported, by attributes at the beginning of its data set, compared as routes compare them."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_adapter.config import AttributeMatch, Route
from dicom_adapter.delivery.prefix import Prefix, Unreadable
from dicom_adapter.delivery.routing import compare
from dicom_adapter.export import messages
from dicom_adapter.export.events import Event, Result
from dicom_adapter.export.fetch import Failed, Image

_STEP = 64 << 10


class Filter:
    """Matches an image that has every one of some attributes like one of its values."""

    def __init__(self, matches: Sequence[AttributeMatch]) -> None:
        self._route = Route((), None, tuple(matches))
        self._tags = frozenset(match.attribute.tag for match in matches)

    def __call__(self, image: Image) -> bool:
        """Whether the image is asked for. Raises Failed when its data set cannot be read."""
        prefix = Prefix(image.transfer_syntax_uid, self._tags)
        view = memoryview(image.head)[image.offset :]
        try:
            for start in range(0, len(view), _STEP):
                more = prefix.feed(view[start : start + _STEP].tobytes())
                while more:
                    more = prefix.feed()
                if prefix.complete:
                    break
        except Unreadable as error:
            raise Failed(Result(Event.UNREADABLE, messages.unreadable(error.position, error.why))) from error
        return all(compared.matched for compared in compare(self._route, "", prefix.elements))
