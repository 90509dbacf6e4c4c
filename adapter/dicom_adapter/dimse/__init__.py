"""A DICOM upper layer and DIMSE engine on asyncio (PS3.7, PS3.8): the acceptor of C-ECHO and C-STORE.

A library: it knows nothing of HTTP, stores or configuration. `DimseServer` listens, calls `Handlers`, and tells an `Observer`.
"""

from dicom_adapter.dimse.associate import AssociateRequest, UserIdentity
from dicom_adapter.dimse.handlers import DataSetInterrupted, Handlers, StoreHandler, StoreRequest
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Extend
from dicom_adapter.dimse.observer import AssociationSummary, Observer, Peer, Rejection
from dicom_adapter.dimse.registry import Access
from dicom_adapter.dimse.server import DimseServer
from dicom_adapter.dimse.status import Status

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "Access",
    "AssociateRequest",
    "AssociationSummary",
    "DataSetInterrupted",
    "DimseServer",
    "Extend",
    "Handlers",
    "Limits",
    "Observer",
    "Peer",
    "Rejection",
    "Status",
    "StoreHandler",
    "StoreRequest",
    "UserIdentity",
]
