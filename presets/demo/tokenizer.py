"""A Llama-2-style tokenizer: byte-pair encoding over "▁"-marked words, bytes as the last resort.

Why this style: llama.cpp converts it to GGUF as it is, whereas it knows a byte-level
BPE only when it recognises the very vocabulary.  ``tokenizer.model`` carries the same
pieces for the converter, with the scores that ``tokenizer.json`` cannot hold.
"""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
PAD, SYSTEM, USER, ASSISTANT = "<pad>", "<|system|>", "<|user|>", "<|assistant|>"
BASE_SPECIALS = (UNK, BOS, EOS)
ADDED_SPECIALS = (PAD, SYSTEM, USER, ASSISTANT)
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))

# Role markers are single tokens, so that Unsloth's train_on_responses_only finds them
# whatever the text around them.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# Pieces may grow inside a run of Latin letters (with the space before it), nowhere else:
# Chinese has no spaces to stop a merge, and digits apart make sums learnable.
_WORDS = Regex(r"▁?[A-Za-z]+|▁|[^▁A-Za-z]")


def learn_pieces(texts: Iterable[str], size: int) -> tuple[list[str], list[str]]:
    """Return the merged pieces, most useful first, and the single characters."""
    draft = Tokenizer(models.BPE())
    draft.normalizer = _normalizer()
    draft.pre_tokenizer = pre_tokenizers.Split(_WORDS, "isolated")
    ascii_letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(BASE_SPECIALS) - len(BYTES) - len(ADDED_SPECIALS),
        min_frequency=2,
        initial_alphabet=ascii_letters,
        show_progress=False,
    )
    draft.train_from_iterator(texts, trainer)
    pieces = sorted(draft.get_vocab().items(), key=lambda item: item[1])
    # A line break is left to its byte, <0x0A>, as in Llama 2.
    characters = [piece for piece, _ in pieces if len(piece) == 1 and piece not in "\n\t\r"]
    return [piece for piece, _ in pieces if len(piece) > 1], characters


def build(merged: list[str], characters: list[str]) -> Tokenizer:
    """Assemble the tokenizer from learned pieces."""
    ordinary = [*BASE_SPECIALS, *BYTES, *merged, *characters]
    vocabulary = {piece: index for index, piece in enumerate(ordinary)}
    # Every split of a piece is a merge, as SentencePiece has it; one recorded split
    # a piece would tokenize differently after conversion to GGUF.
    merges = [
        (piece[:cut], piece[cut:])
        for piece in merged
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=UNK, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = _normalizer()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (*BASE_SPECIALS, *ADDED_SPECIALS)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return tokenizer


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def save(tokenizer: Tokenizer, merged: list[str], characters: list[str], folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and tokenizer.model."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNK,
        "pad_token": PAD,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 2048,
        "padding_side": "right",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(_sentencepiece(merged, characters))


def _sentencepiece(merged: list[str], characters: list[str]) -> bytes:
    # Imported by name, because the generated module tells a type checker nothing.
    proto: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    kind = proto.ModelProto.SentencePiece
    model = proto.ModelProto()
    model.pieces.add(piece=UNK, score=0.0, type=kind.UNKNOWN)
    for piece in (BOS, EOS):
        model.pieces.add(piece=piece, score=0.0, type=kind.CONTROL)
    for piece in BYTES:
        model.pieces.add(piece=piece, score=0.0, type=kind.BYTE)
    for rank, piece in enumerate((*merged, *characters)):
        model.pieces.add(piece=piece, score=-float(rank), type=kind.NORMAL)
    for piece in ADDED_SPECIALS:
        model.pieces.add(piece=piece, score=0.0, type=kind.CONTROL)
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id = 0, 1, 2
    model.trainer_spec.pad_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    return bytes(model.SerializeToString())
