# ruff: noqa: INP001 a script, not a package
"""Write MiniLM's safetensors as a float16 GGUF that llama.cpp embeds with."""

import argparse
import json
from pathlib import Path

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, LlamaFileType, PoolingType, TokenType, get_tensor_name_map
from safetensors import safe_open

ARCHITECTURE = MODEL_ARCH.BERT
WHOLE_WORD = "\u2581"
"""llama.cpp's mark for a piece that begins a word; BERT marks the others with ##."""


def convert(folder: Path, target: Path) -> None:
    """Convert the model in `folder` to the file `target`."""
    config = json.loads((folder / "config.json").read_text())
    writer = GGUFWriter(target, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    _add_tokens(writer, folder, types=config["type_vocab_size"])
    _add_tensors(writer, folder, blocks=config["num_hidden_layers"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: GGUFWriter, folder: Path, *, types: int) -> None:
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    tokens = [token for token in tokens if token]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(types)
    writer.add_token_list([_piece(token, special=token in special) for token in tokens])
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_unk_token_id(tokens.index("[UNK]"))
    writer.add_sep_token_id(tokens.index("[SEP]"))
    writer.add_pad_token_id(tokens.index("[PAD]"))
    writer.add_bos_token_id(tokens.index("[CLS]"))
    writer.add_mask_token_id(tokens.index("[MASK]"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


def _piece(token: str, *, special: bool) -> str:
    if special:
        return token
    return token[2:] if token.startswith("##") else WHOLE_WORD + token


def _add_tensors(writer: GGUFWriter, folder: Path, *, blocks: int) -> None:
    names = get_tensor_name_map(ARCHITECTURE, blocks)
    with safe_open(folder / "model.safetensors", framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 not a mapping
            target = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if target is None or "pooler" in name:
                continue  # position ids and the pooler: mean pooling needs neither
            value = tensors.get_tensor(name)
            matrix = value.ndim == 2 and not any(part in target for part in ("position_embd", "token_types"))
            writer.add_tensor(target, value.astype(np.float16 if matrix else np.float32))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    convert(given.folder, given.target)
