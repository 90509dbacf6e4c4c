"""How much one peer may ask of us: every bound of the engine in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of both sides of an association; times are seconds, sizes bytes.

    Attributes:
        max_associations: associations open at the same time, in all; more are rejected with 2/3/2 (PS3.8 9.3.4).
        max_associations_per_peer: the same for one calling AE title at one address.
        max_pdu_bytes: the Maximum Length that we announce for P-DATA-TF (PS3.8 D.1).
        connect_timeout: until a connection that we open is there.
        association_timeout: ARTIM (PS3.8 9.1.5): from the connection to the A-ASSOCIATE-RQ, and for the peer to close at the end. As long
            may a peer take to answer our A-ASSOCIATE-RQ and A-RELEASE-RQ.
        dimse_timeout: silence of the peer inside a message, and how long it may leave what we send unread.
        response_timeout: silence of a peer that has all of a request of ours and has not answered it.
        idle_timeout: silence of the peer between two messages.
        receive_window_bytes: data set bytes held for a handler that reads more slowly than the peer sends.
        max_operations: operations of one association at a time, where the peer negotiates more than one (PS3.7 D.3.3.3).
        max_data_set_bytes: length of a data set that is collected before it is handed on: identifiers of queries, commitment lists.
        max_command_bytes: length of a command set (PS3.7 6.3.1).
        max_associate_bytes: length of an A-ASSOCIATE-RQ.
    """

    max_associations: int = 100
    max_associations_per_peer: int = 32
    max_pdu_bytes: int = 131072
    connect_timeout: float = 10.0
    association_timeout: float = 30.0
    dimse_timeout: float = 60.0
    response_timeout: float = 60.0
    idle_timeout: float = 600.0
    receive_window_bytes: int = 1 << 20
    max_operations: int = 8
    max_data_set_bytes: int = 1 << 22
    max_command_bytes: int = 1 << 16
    max_associate_bytes: int = 1 << 20
