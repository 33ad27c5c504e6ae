"""Why a tunnel is refused. Each carries the answer's status, a word for logs and figures, and a sentence."""


class EgressError(Exception):
    """Base of all."""


class SettingsError(EgressError):
    """An environment variable has no sense."""

    def __init__(self, name: str, *, problem: str) -> None:
        self.name = name
        super().__init__(f"{name} {problem}")


class RefusedError(EgressError):
    """The tunnel is refused. `verdict` is one of the README's words; the sentence goes to the caller."""

    def __init__(self, status: int, *, verdict: str, sentence: str) -> None:
        self.status = status
        self.verdict = verdict
        self.sentence = sentence
        super().__init__(sentence)
