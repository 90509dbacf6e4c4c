"""A DICOMweb store as destination: STOW-RS, judged by the table that the import direction has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.delivery import verdict
from dicom_adapter.dicomweb.answers import problem
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.errors import StaleConnection, StoreUnreachable
from dicom_adapter.dicomweb.upload import Part, Upload
from dicom_adapter.export import messages
from dicom_adapter.export.destination import Lane
from dicom_adapter.export.events import Event, Reason, Result, Trouble, of_http, of_verdict
from dicom_adapter.export.fetch import Failed, Image


class WebDestination:
    """One DICOMweb service."""

    def __init__(self, client: DicomwebClient) -> None:
        self._client = client

    async def send(self, image: Image) -> Result:
        """One POST."""
        length = len(image.head) if image.whole else None
        upload = Upload(Part(image.part10(), length))
        try:
            answer = await self._client.store(upload, fresh=not image.whole)
        except Failed:
            raise
        except StaleConnection as error:
            return Result(Event.STALE, messages.destination_unreachable(error.comment))
        except StoreUnreachable as error:
            event = Event.CUT_OFF if image.sent else Event.DESTINATION_UNAVAILABLE
            return Result(event, messages.destination_unreachable(error.comment), Reason.UNREACHABLE)
        except (Missing, Unusable) as error:
            text = messages.credentials_unusable(error.mounted.what, error.mounted.name)
            return Result(Event.DESTINATION_UNAVAILABLE, text, Reason.UNAUTHORIZED)
        except CredentialsUnavailable as error:
            return Result(Event.DESTINATION_UNAVAILABLE, error.text, Reason.UNAUTHORIZED)
        if answer.again:
            return Result(Event.STALE, messages.destination_answers(answer.status, problem(answer).status))
        found = verdict.judge(answer, image.sop_instance_uid)
        event = of_verdict(found)
        text = "" if event is Event.STORED else messages.destination_says(found.text or found.comment)
        return Result(event, text, of_http(answer.status))

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        """Requests know nothing of each other: there is no end of a study to be seen."""
        yield self

    async def probe(self) -> Trouble | None:
        """A search for one study. A store that only takes images answers it with an error of its own, and is there."""
        try:
            answer = await self._client.search()
        except StoreUnreachable as error:
            return Trouble(Reason.UNREACHABLE, messages.destination_unreachable(error.comment))
        except (Missing, Unusable) as error:
            return Trouble(Reason.UNAUTHORIZED, messages.credentials_unusable(error.mounted.what, error.mounted.name))
        except CredentialsUnavailable as error:
            return Trouble(Reason.UNAUTHORIZED, error.text)
        if answer.status in (401, 403, 408, 429) or answer.status >= 500:
            return Trouble(of_http(answer.status), messages.destination_answers(answer.status, problem(answer).status))
        return None

    async def close(self) -> None:
        """Nothing that is not closed by who has made the client."""
