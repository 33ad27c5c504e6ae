"""Errors that callers see. Each knows its HTTP status and a stable code; none carries content of documents."""

from hearth_api.wire.knowledge import NotReranked


class KnowledgeError(Exception):
    """Base of all. `status` is the HTTP status, `kind` OpenAI's error type, `code` a stable word."""

    status = 500
    kind = "server_error"
    code = "internal_error"

    def to_json_object(self) -> dict[str, object]:
        """Return the body of an error answer."""
        return {"error": {"message": str(self), "type": self.kind, "code": self.code}}


class InvalidRequestError(KnowledgeError):
    """The request says something that cannot be; `field` names it."""

    status = 400
    kind = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


class TooLargeError(KnowledgeError):
    """A body is over its limit."""

    status = 413
    kind = "invalid_request_error"
    code = "too_large"

    def __init__(self, what: str, *, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{what} is larger than {limit} bytes")


class UnauthenticatedError(KnowledgeError):
    """No token, or one that the API server does not know."""

    status = 401
    kind = "authentication_error"
    code = "unauthenticated"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class ForbiddenError(KnowledgeError):
    """The caller is known and may not do this."""

    status = 403
    kind = "permission_error"
    code = "forbidden"

    def __init__(self, account: str, action: str) -> None:
        self.account = account
        self.action = action
        super().__init__(f"{account} may not {action}")


class WithheldError(KnowledgeError):
    """The policy of the knowledge base withholds this; the message says what permits it."""

    status = 403
    kind = "permission_error"
    code = "withheld"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class NotFoundError(KnowledgeError):
    """A named thing is not there."""

    status = 404
    kind = "invalid_request_error"
    code = "not_found"

    def __init__(self, what: str, name: str) -> None:
        self.what = what
        self.name = name
        super().__init__(f"{what} {name} does not exist")


class ConflictError(KnowledgeError):
    """A compare-and-swap lost."""

    status = 409
    kind = "invalid_request_error"
    code = "conflict"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class UnavailableError(KnowledgeError):
    """Something that this call needs does not answer now. Worth trying again."""

    status = 503
    kind = "server_error"
    code = "unavailable"

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} is not available: {reason}")


class EmbedderUnavailableError(UnavailableError):
    """The gateway or the embedding model does not answer. Work waits."""

    code = "embedder_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__("the embedding model", reason)


class EmbedderRefusedError(KnowledgeError):
    """The embedding model will not take this text; trying again soon does not help."""

    status = 502
    code = "embedder_refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the embedding model refused: {reason}")


class RerankerError(Exception):
    """The reranker gave no order; the search answers without one. Never shown to a caller as an error."""

    def __init__(self, reason: NotReranked, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class StoreUnavailableError(UnavailableError):
    """Milvus does not answer."""

    code = "vector_store_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__("the vector store", reason)


class KeyMissingError(UnavailableError):
    """No key-encryption key of the version that is needed is mounted."""

    code = "key_missing"

    def __init__(self, reason: str) -> None:
        super().__init__("the key-encryption key", reason)


class SealBrokenError(KnowledgeError):
    """Encrypted data does not open: wrong key, or somebody changed or moved it."""

    code = "seal_broken"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} does not open with its key: it was changed, moved or belongs to another key")
