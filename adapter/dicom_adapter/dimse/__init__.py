"""A DICOM upper layer and DIMSE engine on asyncio (PS3.7, PS3.8), both sides.

A library: it knows nothing of HTTP, stores or configuration. `DimseServer` listens, calls `Handlers`, and tells an `Observer`; `connect`
and `Pool` call other nodes. Its errors are the tree of `errors`.
"""

from dicom_adapter.dimse.associate import AssociateRequest, CommonExtended, RoleProposal, UserIdentity
from dicom_adapter.dimse.client import ClientAssociation, PeerAddress, Tls, connect
from dicom_adapter.dimse.commands import MoveOriginator, Priority, SubOperations
from dicom_adapter.dimse.errors import (
    AssociationAborted,
    AssociationEnded,
    AssociationLost,
    AssociationRejected,
    AssociationReleased,
    ContextNotAccepted,
    DimseError,
    NotDicom,
    PeerSilent,
    PeerUnreachable,
    PeerViolation,
    PoolClosed,
)
from dicom_adapter.dimse.handlers import (
    DataSetInterrupted,
    GetRequest,
    Handlers,
    MoveRequest,
    NormalizedRequest,
    QueryRequest,
    Reporter,
    Response,
    SopInstance,
    StoreHandler,
    StoreRequest,
)
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Extend
from dicom_adapter.dimse.observer import AssociationSummary, Observer, Peer, Rejection
from dicom_adapter.dimse.pool import Pool
from dicom_adapter.dimse.proposal import Extras, PresentationContext, is_ae_title
from dicom_adapter.dimse.registry import Access, Permit
from dicom_adapter.dimse.server import DimseServer
from dicom_adapter.dimse.sopclasses import Service, service_class
from dicom_adapter.dimse.status import Status

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "Access",
    "AssociateRequest",
    "AssociationAborted",
    "AssociationEnded",
    "AssociationLost",
    "AssociationRejected",
    "AssociationReleased",
    "AssociationSummary",
    "ClientAssociation",
    "CommonExtended",
    "ContextNotAccepted",
    "DataSetInterrupted",
    "DimseError",
    "DimseServer",
    "Extend",
    "Extras",
    "GetRequest",
    "Handlers",
    "Limits",
    "MoveOriginator",
    "MoveRequest",
    "NormalizedRequest",
    "NotDicom",
    "Observer",
    "Peer",
    "PeerAddress",
    "PeerSilent",
    "PeerUnreachable",
    "PeerViolation",
    "Permit",
    "Pool",
    "PoolClosed",
    "PresentationContext",
    "Priority",
    "QueryRequest",
    "Rejection",
    "Reporter",
    "Response",
    "RoleProposal",
    "Service",
    "SopInstance",
    "Status",
    "StoreHandler",
    "StoreRequest",
    "SubOperations",
    "Tls",
    "UserIdentity",
    "connect",
    "is_ae_title",
    "service_class",
]
