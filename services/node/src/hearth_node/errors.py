"""What may go wrong on a machine, said in one sentence with the remedy."""


class NodeError(Exception):
    """A step of join, leave, upgrade or doctor cannot be done. The text is for the owner of the machine."""


class RefusedError(Exception):
    """The front does not let a request through. `code` names the case for programs."""

    def __init__(self, status: int, message: str, *, code: str) -> None:
        self.status = status
        self.message = message
        self.code = code
        super().__init__(message)
