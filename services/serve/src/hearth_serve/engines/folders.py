"""Model folders with safetensors, for the engines that take any architecture: Transformers, VLLM and MLX.

What is wrong with a folder is said here, in one sentence, before a library spends minutes on it.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_api.wire.serve import ServeArgs
from hearth_serve.engines.tokens.templates import ChatTemplate
from hearth_serve.engines.tokens.vocabulary import Vocabulary
from hearth_serve.errors import StartError, WeightsMissingError
from hearth_serve.sources import Weights, load_weights, locate

_MOST_JSON = 32 * 1024**2
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "n_ctx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A model's folder, checked."""

    path: Path
    weights: Weights
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """What the model calls itself."""
        names = self.config.get("architectures")
        first = names[0] if isinstance(names, list) and names else self.config.get("model_type")
        return str(first)[:100] if first else "of no name"

    @property
    def positions(self) -> int | None:
        """Tokens that the model was trained for; None where its files do not say."""
        found = next((size for name in _POSITIONS if (size := self._number(name)) is not None), None)
        limit = _object(self.path / "sentence_bert_config.json", missing={}).get("max_seq_length")
        if isinstance(limit, int) and limit > 0:  # an embedder was trained with fewer tokens than it has positions
            return min(limit, found or limit)
        if found is not None and "roberta" in str(self.config.get("model_type")):
            return found - 2  # its positions begin behind the padding
        return found

    @property
    def vocabulary(self) -> int | None:
        """Numbers that the model gives for the next token."""
        return self._number("vocab_size")

    def ends(self) -> Iterator[int]:
        """Yield the tokens that end an answer."""
        for name in ("generation_config.json", "config.json"):
            found = _object(self.path / name, missing={}).get("eos_token_id")
            for token in found if isinstance(found, list) else [found]:
                if isinstance(token, int):
                    yield token

    def _number(self, name: str) -> int | None:
        inner = self.config.get("text_config")
        for config in (self.config, inner if isinstance(inner, Mapping) else {}):
            value = config.get(name)
            if type(value) is int and 0 < value < 2**31:
                return value
        return None


def open_folder(args: ServeArgs) -> Folder:
    """Find, check and hash a model's folder. Raises StartError."""
    config = locate(args.model.source, pattern="config.json")
    if config.suffix != ".json":
        raise StartError(
            f"Model file {config} is one file: engine {args.engine.value} takes a folder with config.json and "
            "*.safetensors (a GGUF file is for LlamaCpp, an ONNX file for OnnxRuntime)."
        )
    folder = config.parent
    files = tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        raise WeightsMissingError(f"Model folder {folder} holds no file *.safetensors.{_others(folder)}")
    _demand_listed(folder)
    for file in files:
        _demand_whole(file)
    settings = _object(config, missing=None)
    if not settings.get("model_type") and not settings.get("architectures"):
        raise StartError(f"File {config} is not of a model: it names no model_type.")
    return Folder(path=folder, weights=load_weights(folder, sha256=args.model.sha256, files=files), config=settings)


def _others(folder: Path) -> str:
    """Say what is there instead."""
    for pattern, engine in (("*.gguf", "LlamaCpp"), ("*.onnx", "OnnxRuntime")):
        if any(folder.glob(pattern)):
            return f" It holds {pattern}: that is for engine {engine}."
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        return " Pickled weights (*.bin, *.pt) are never loaded: they can run code. Take the safetensors of the model."
    return ""


def _demand_listed(folder: Path) -> None:
    """Refuse a folder that misses a part of its weights."""
    listed = _object(folder / "model.safetensors.index.json", missing={}).get("weight_map")
    if not isinstance(listed, Mapping):
        return
    missing = sorted({str(name) for name in listed.values()} - {path.name for path in folder.glob("*.safetensors")})
    if missing:
        raise WeightsMissingError(
            f"Model folder {folder} misses {len(missing)} of its files of weights: {', '.join(missing[:3])}."
        )


def _demand_whole(path: Path) -> None:
    """Refuse a file that is no safetensors file, or less of one than its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
            raw = file.read(length) if 0 < length <= min(size, 100_000_000) else b""
    except OSError as error:
        raise StartError(f"Model file {path} cannot be read: {error.strerror}.") from error
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise StartError(f"Model file {path} is not a safetensors file.") from error
    if size < whole:
        raise StartError(f"Model file {path} is truncated: it has {size} bytes of {whole}. Fetch it again.")


def _object(path: Path, *, missing: Mapping[str, Any] | None) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise StartError(f"File {path} is larger than any of its kind.")
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if missing is None:
            raise WeightsMissingError(f"File {path} does not exist.") from error
        return missing
    except OSError as error:
        raise StartError(f"File {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise StartError(f"File {path} is not JSON.") from error
    if not isinstance(found, dict):
        raise StartError(f"File {path} holds no JSON object.")
    return found


def open_tokenizer(folder: Folder) -> Any:
    """Return the tokenizer of a folder, by transformers. No code of the folder runs. Raises StartError."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise StartError(f"The tokenizer of {folder.path} cannot be loaded: {first_line(error)}.") from error


def words_of(folder: Folder, tokenizer: Any) -> Vocabulary:
    """Return what answers need of the tokenizer."""
    return Vocabulary(tokenizer, size=max(folder.vocabulary or 0, len(tokenizer)), ends=folder.ends())


def template_of(tokenizer: Any) -> ChatTemplate | None:
    """Return the model's own chat template, compiled; None where it has none. Raises StartError."""
    text = tokenizer.chat_template
    if isinstance(text, Mapping):  # several: one of them is for chats with tools
        text = text.get("tool_use") or text.get("default")
    if not text:
        return None
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    template = ChatTemplate(text, special=special)
    template.check()
    return template


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:400].rstrip(".")
