"""Every sentence that a user reads in conditions, events and startup errors. Tested verbatim.

A sentence says what is true and, where it is known, what to do. None holds a number that moves by itself (ages, counts,
rates): each change of a message is a write to the API server.

One catalogue with a file for each subject: everybody says `messages.ready(...)`, of a DicomExport `messages.export.ready(...)`.
"""

from __future__ import annotations

from dicom_operator.messages import export as export
from dicom_operator.messages.objects import *
from dicom_operator.messages.process import *
from dicom_operator.messages.spec import *
from dicom_operator.messages.spool import *
from dicom_operator.messages.status import *
