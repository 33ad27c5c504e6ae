"""What can go wrong, with the facts.

ServeError
├── EngineFailedError        computing has ended for good: the replica must be replaced
├── StartError               the model cannot be served as declared; its text is the one sentence that a person reads
│   ├── WeightsMissingError  there is no such file on this node
│   └── DigestMismatchError  the file is not the declared one
└── ApiError                 a request is answered with an OpenAI-shaped error

The operator finds the sentence in Ray's DEPLOY_FAILED message behind the class's name, on one line.
"""


class ServeError(Exception):
    """Base of all errors here."""


class StartError(ServeError):
    """Raised while a replica starts. Ray shows it in the application's DEPLOY_FAILED message."""


class EngineFailedError(ServeError):
    """Raised by a health check: the process answers, but its engine computes no more."""


class WeightsMissingError(StartError):
    """The source names a file or package that this node does not have."""


class DigestMismatchError(StartError):
    """The file's SHA-256 is not the declared one."""


class ApiError(ServeError):
    """An answer with status `status` and `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after
        """Seconds for the header Retry-After."""

    def body(self) -> dict[str, object]:
        """Return the JSON body that OpenAI's clients understand."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error for a request that must be changed before it is sent again."""
    return ApiError(400, message, param=param, code=code)


def context_exceeded(message: str, *, param: str = "messages") -> ApiError:
    """Return OpenAI's error for a prompt that does not fit."""
    return ApiError(400, message, param=param, code="context_length_exceeded")
