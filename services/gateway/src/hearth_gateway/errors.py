"""Errors that callers see. Each knows its status code and is rendered in OpenAI's shape."""

import json
import math
from collections.abc import Sequence


class GatewayError(Exception):
    """Base. `kind` is OpenAI's `type`, `code` is for programs, the message is for people."""

    status = 500
    kind = "server_error"
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        self.message = message
        self.param = param
        self.retry_after = retry_after
        super().__init__(message)

    def body(self) -> bytes:
        """Return the JSON body."""
        return json.dumps({"error": self.detail()}).encode()

    def detail(self) -> dict[str, str | None]:
        """Return OpenAI's error object."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return response headers, with Retry-After in whole seconds where waiting helps."""
        headers = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        return headers


class BadRequestError(GatewayError):
    """The body or a parameter is wrong."""

    status, kind, code = 400, "invalid_request_error", "invalid_value"


class WrongTaskError(BadRequestError):
    """The model exists but does something else."""

    code = "wrong_task"


class TooLargeError(GatewayError):
    """The body is beyond the limit."""

    status, kind, code = 413, "invalid_request_error", "body_too_large"

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit} bytes.")


class UnauthenticatedError(GatewayError):
    """No valid credential. The reason is never more precise than this, so that keys cannot be probed."""

    status, kind, code = 401, "authentication_error", "invalid_api_key"

    def __init__(self, message: str = "The API key is missing, unknown, expired or revoked.") -> None:
        super().__init__(message)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Add the scheme."""
        return [*super().headers(), (b"www-authenticate", b"Bearer")]


class ForbiddenError(GatewayError):
    """The credential is valid but may not do this."""

    status, kind, code = 403, "permission_error", "forbidden"


class WithheldError(GatewayError):
    """The knowledge base's privacy policy withholds this; the message says what permits it."""

    status, kind, code = 403, "permission_error", "withheld"


class ConflictError(GatewayError):
    """It cannot be done now; the message says why."""

    status, kind, code = 409, "invalid_request_error", "conflict"


class NotFoundError(GatewayError):
    """No such path or document."""

    status, kind, code = 404, "invalid_request_error", "not_found"


class MethodError(GatewayError):
    """The path exists, the method does not."""

    status, kind, code = 405, "invalid_request_error", "method_not_allowed"


class ModelNotFoundError(NotFoundError):
    """Unknown model; the message lists what there is."""

    code = "model_not_found"

    def __init__(self, model: str, *, known: Sequence[str]) -> None:
        listed = ", ".join(known) if known else "none yet"
        super().__init__(f"The model '{model[:200]}' does not exist. Models: {listed}.", param="model")


class KnowledgeBaseNotFoundError(NotFoundError):
    """Unknown knowledge base; the message lists what the caller may ask."""

    code = "knowledge_base_not_found"

    def __init__(self, name: str, *, known: Sequence[str]) -> None:
        listed = ", ".join(known) if known else "none yet"
        super().__init__(
            f"The knowledge base '{name[:200]}' does not exist. Knowledge bases: {listed}.", param="knowledge_bases"
        )


class RateLimitError(GatewayError):
    """The key's requests per minute are used up."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"


class QueueFullError(RateLimitError):
    """Too many requests wait for the model."""

    code = "queue_full"


class UnavailableError(GatewayError):
    """Something the answer needs is away; trying again later may help."""

    status, kind, code = 503, "server_error", "unavailable"


class ModelNotReadyError(UnavailableError):
    """The model exists and no variant of it can answer now."""

    code = "model_not_ready"


class QueueTimeoutError(UnavailableError):
    """No slot became free within the deadline."""

    code = "queue_timeout"


class KnowledgeUnavailableError(UnavailableError):
    """The knowledge service does not answer."""

    code = "knowledge_unavailable"


class UpstreamError(GatewayError):
    """The model's server failed in a way that is not the caller's fault."""

    status, kind, code = 502, "server_error", "upstream_error"


class UpstreamTimeoutError(GatewayError):
    """The model's server was silent for too long."""

    status, kind, code = 504, "server_error", "upstream_timeout"
