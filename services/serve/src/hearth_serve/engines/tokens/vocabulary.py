"""A tokenizer's words, seen the same way whichever library loaded it."""

import threading
from collections.abc import Iterable
from typing import Any


def well_formed(text: str) -> str:
    """Return a text without halves of characters, which JSON can hold and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Vocabulary:
    """A Hugging Face tokenizer, behind what answers need of it. Used from threads."""

    def __init__(self, tokenizer: Any, *, size: int, ends: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # a fast tokenizer refuses a second borrower while one changes its settings
        self.size = size
        known = {token for token in ends if token is not None}
        if tokenizer.eos_token_id is not None:
            known.add(tokenizer.eos_token_id)
        self.ends = frozenset(known)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        marked = {number for number, token in added.items() if token.special}
        self.special = frozenset(marked | set(tokenizer.all_special_ids) | known)

    def encode(self, text: str, *, special: bool) -> tuple[int, ...]:
        """Return the tokens of a text; `special` adds what the model expects around it."""
        with self._lock:
            ids = self._tokenizer(well_formed(text), add_special_tokens=special, verbose=False)["input_ids"]
        return tuple(ids)

    def decode(self, ids: list[int]) -> str:
        """Return the text of tokens as it is."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def spell(self, token: int) -> str:
        """Return one token as text."""
        return self.decode([token])

    def named(self, names: frozenset[str]) -> frozenset[int]:
        """Return the tokens that are called so."""
        known = self._tokenizer.get_vocab()
        return frozenset(known[name] for name in names if name in known)
