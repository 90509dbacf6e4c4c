"""What can go wrong, as a tree.

OperatorError
├── SpecError            the spec can never work; only a new generation helps
├── OwnershipConflict    an object of the same name belongs to somebody else
├── StartupError         the operator cannot start as it is; one line, exit 1
├── NotLeading           another replica of the operator works now; nothing is written
└── ApiError             the API server's answer to one request
    ├── ApiForbidden     403 from RBAC: a right is missing
    ├── ApiRejected      400, 422, 403 from admission: this object is refused
    ├── ApiConflict      409: somebody else was faster; read again
    ├── ApiNotFound      404
    ├── ApiUnauthorized  401
    └── ApiUnavailable   429, 5xx, network: try again later
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of all errors of the operator."""


class SpecError(OperatorError):
    """A field of the spec that can never work."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class OwnershipConflict(OperatorError):
    """An object that we would write is not ours."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name}")
        self.kind = kind
        self.name = name


class StartupError(OperatorError):
    """Something that a person has to mend before the operator can run."""


class NotLeading(OperatorError):
    """Another replica of the operator leads, or may lead by now: what was about to be written is not."""


class ApiError(OperatorError):
    """The API server's answer to one request."""

    def __init__(
        self, text: str, *, code: int = 0, verb: str = "", resource: str = "", namespace: str = "", kind: str = "", name: str = ""
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.verb = verb
        self.resource = resource
        self.namespace = namespace
        self.kind = kind
        self.name = name


class ApiForbidden(ApiError):
    """RBAC: we lack a right."""


class ApiRejected(ApiError):
    """The object is refused: validation, quota, admission."""


class ApiConflict(ApiError):
    """The object is not the one that we saw."""


class ApiNotFound(ApiError):
    """No such object."""


class ApiUnauthorized(ApiError):
    """Our credentials are not accepted."""


class ApiUnavailable(ApiError):
    """No answer, or one that asks to come again."""

    retry_after: float | None = None
