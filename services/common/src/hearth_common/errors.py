"""Errors of this package. Each carries facts; none carries a token."""


class HearthCommonError(Exception):
    """Base of all."""


class TokenFileError(HearthCommonError):
    """A projected token could not be read."""

    def __init__(self, path: str, *, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the token file {path} cannot be read: {reason}")


class TokenRefusedError(HearthCommonError):
    """The API server does not know the token, or not for our audience. Answer 401."""

    def __init__(self, *, audience: str, reason: str) -> None:
        self.audience = audience
        self.reason = reason
        super().__init__(f"the token is not valid for audience {audience}: {reason}")


class KubeUnreachableError(HearthCommonError):
    """The API server did not answer. Answer 503."""

    def __init__(self, *, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the API server did not answer {path}: {reason}")


class KubeStatusError(HearthCommonError):
    """The API server answered with an error status."""

    def __init__(self, *, path: str, status: int, message: str) -> None:
        self.path = path
        self.status = status
        self.message = message
        super().__init__(f"the API server answered {status} to {path}: {message}")
