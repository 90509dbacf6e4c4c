"""What people read: every sentence of the adapter's logs, of /status and so of the conditions that the operator makes of it.

One catalogue with a file for each subject, tested verbatim. No patient data and no peer's bytes: AE titles, addresses and UIDs only.
Sentences of /status hold no number that moves by itself, or every probe would rewrite the resource's status.
"""

from __future__ import annotations

from dicom_adapter.messages.associations import *
from dicom_adapter.messages.commitment import *
from dicom_adapter.messages.echo import *
from dicom_adapter.messages.lifecycle import *
from dicom_adapter.messages.mounted import *
from dicom_adapter.messages.operations import *
from dicom_adapter.messages.retrieval import *
from dicom_adapter.messages.routes import *
from dicom_adapter.messages.spool import *
from dicom_adapter.messages.storing import *
