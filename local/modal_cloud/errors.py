"""What a service refuses, and the gRPC status that says so."""

from __future__ import annotations

from grpclib import GRPCError, Status


class Refused(GRPCError):
    """A refusal with one clear message; the subclass fixes the status."""

    code: Status = Status.UNKNOWN

    def __init__(self, message: str) -> None:
        super().__init__(self.code, message)


class NotFound(Refused):
    code = Status.NOT_FOUND


class AlreadyExists(Refused):
    code = Status.ALREADY_EXISTS


class Invalid(Refused):
    code = Status.INVALID_ARGUMENT


class FailedPrecondition(Refused):
    code = Status.FAILED_PRECONDITION


class ResourceExhausted(Refused):
    code = Status.RESOURCE_EXHAUSTED


class Unauthenticated(Refused):
    code = Status.UNAUTHENTICATED


class Unimplemented(Refused):
    code = Status.UNIMPLEMENTED
