"""Answers that keep to a JSON schema: llguidance says before each token which ones may follow.

Chosen over xgrammar and outlines-core because one wheel without dependencies serves Linux, macOS and both torch and
MLX, masks take some 50 microseconds where schemas compiled to automata take seconds to build, and vLLM has it as well.
"""

import json
from collections.abc import Mapping
from typing import Any

from hearth_serve.errors import StartError, invalid

_EXACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Small models write blanks without end where they may."""
_LIMITS = {"initial_lexer_fuel": 1_000_000, "step_lexer_fuel": 200_000, "max_grammar_size": 500_000}
ANY_OBJECT = json.dumps({"type": "object"})


class Constraints:
    """Grammars over one tokenizer's vocabulary."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = sorted(ends)
        self._known: Any = None

    def prepare(self) -> None:
        """Read the vocabulary; takes some tenths of a second. Raises StartError."""
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise StartError("llguidance is missing: install the extra of this engine.") from error
        try:
            self._known = from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)
        except Exception as error:  # noqa: BLE001 slow tokenizers, and what Rust says of odd ones: no grammars then
            self._known = None
            self._why = (str(error).splitlines() or [type(error).__name__])[0]

    def matcher(self, schema: str) -> "Matcher":
        """Return the state of one answer. Raises ApiError 400 for a schema that cannot be kept to."""
        from llguidance import LLMatcher, LLParserLimits

        if self._known is None:
            raise invalid(f"This model's tokenizer allows no JSON schema: {self._why}.", param="response_format")
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_EXACT)
        except ValueError as error:
            raise invalid(f"response_format: {error}.", param="response_format") from error
        state = LLMatcher(self._known, grammar, log_level=0, limits=LLParserLimits(**_LIMITS))
        if state.is_error():
            reason = (state.get_error().splitlines() or ["it cannot be read"])[0]
            raise invalid(f"This JSON schema is not supported: {reason}.", param="response_format")
        return Matcher(state, words=(self._vocabulary + 31) // 32, ends=self._ends)


class Matcher:
    """What may follow in one answer."""

    def __init__(self, state: Any, *, words: int, ends: list[int]) -> None:
        self._state = state
        self._words = words
        self._ends = ends

    @property
    def ended(self) -> bool:
        """Whether nothing more may come but the end."""
        return bool(self._state.is_stopped())

    def allowed(self) -> Any:
        """Return a numpy array of a boolean for each token (and up to 31 more)."""
        import numpy as np
        from llguidance.numpy import fill_next_token_bitmask

        mask = np.zeros((1, self._words), dtype=np.int32)
        if self.ended:
            only = np.zeros(self._words * 32, dtype=np.bool_)
            only[self._ends] = True
            return only
        fill_next_token_bitmask(self._state, mask)
        return np.unpackbits(mask.view(np.uint8)[0], bitorder="little").view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on with a token."""
        if not self.ended:
            self._state.consume_token(token)


def read_schema(given: Mapping[str, Any]) -> str | None:
    """Return the JSON schema of a `response_format`; None for plain text. Raises ApiError 400."""
    kind = given.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = given.get("schema")
        return json.dumps(schema) if isinstance(schema, Mapping) else ANY_OBJECT
    wrapped = given.get("json_schema")
    schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if schema is True:  # as JSON Schema has it: anything goes
        schema = {}
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise invalid("response_format is text, json_object, or json_schema with a schema.", param="response_format")
    return json.dumps(schema)
