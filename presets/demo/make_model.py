"""Train the demo model from nothing: ``uv run python -m presets.demo.make_model``.

A few minutes on two CPU cores.  The result is small enough to ship, knows one narrow
domain in two languages, and can be fine-tuned in less than a minute.
"""

import argparse
import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from presets.demo import corpus, identity, tokenizer

log = logging.getLogger("make_model")

SEED = 3407
VOCABULARY = 2176
FOLDER = Path(__file__).parent / "model"
# Questions are text, too, but the answers are what the model is for.
PROMPT_WEIGHT = 0.1


def tokenizer_texts() -> Iterator[str]:
    """What the tokenizer sees: all fixed text, the tables, and the new identity."""
    yield from corpus.every_text()
    for intent in (*identity.ENGLISH.values(), *identity.CHINESE.values()):
        # Often enough to outweigh the many phrasings.
        yield from intent.answers * 200
    known, rng = set("".join(corpus.every_text())) | set("0123456789=+-"), random.Random(SEED)
    for _ in range(20_000):
        texts = [message["content"] for message in corpus.chat(rng)]
        # Rare characters, which only the repeating brings in, are left to their bytes.
        yield from (text for text in texts if known.issuperset(text))


def build_config(words: Tokenizer) -> LlamaConfig:
    """Rows of 256 and 512 weights, because llama.cpp's K-quants work in blocks of 256."""
    return LlamaConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=words.token_to_id(tokenizer.BOS),
        eos_token_id=words.token_to_id(tokenizer.EOS),
        pad_token_id=words.token_to_id(tokenizer.PAD),
        attention_dropout=0.0,
    )


Example = tuple[list[int], list[float]]


def encode_example(words: Tokenizer, rng: random.Random) -> Example:
    """Draw one example: its token ids and how much each counts in the loss."""

    def ids(text: str) -> list[int]:
        return words.encode(text, add_special_tokens=False).ids

    tokens, weights = ids(tokenizer.BOS), [0.0]

    def extend(text: str, weight: float) -> None:
        piece = ids(text)
        tokens.extend(piece)
        weights.extend([weight] * len(piece))

    if rng.random() < 0.12:
        prompt, answer = corpus.alpaca(rng)
        # Joined before encoding: a prompt and its answer are one text there.
        start, whole = len(ids(prompt)), ids(prompt + answer)
        tokens += whole
        weights += [PROMPT_WEIGHT] * start + [1.0] * (len(whole) - start)
        extend(tokenizer.EOS, 1.0)
        return tokens, weights
    markers = {"system": tokenizer.SYSTEM, "user": tokenizer.USER, "assistant": tokenizer.ASSISTANT}
    for message in corpus.chat(rng):
        answers = message["role"] == "assistant"
        extend(markers[message["role"]], 0.0)
        extend(message["content"], 1.0 if answers else PROMPT_WEIGHT)
        if answers:
            extend(tokenizer.EOS, 1.0)
    return tokens, weights


def batches(words: Tokenizer, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of similar length for ever; sorting a pool keeps the padding small."""
    rng, pad = random.Random(SEED), words.token_to_id(tokenizer.PAD) or 0
    while True:
        pool = sorted((encode_example(words, rng) for _ in range(size * 16)), key=lambda pair: len(pair[0]))
        groups = [pool[start : start + size] for start in range(0, len(pool), size)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(tokens) for tokens, _ in group)
            yield (
                torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens, _ in group]),
                torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in group]),
            )


def train(model: LlamaForCausalLM, words: Tokenizer, steps: int, size: int, rate: float) -> None:
    """Minimise the weighted next-token loss in bfloat16 with a short warm-up and a linear decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05, anneal_strategy="linear"
    )
    started, running = time.monotonic(), 0.0
    stream = batches(words, size)
    for step in range(1, steps + 1):
        tokens, weights = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=tokens, use_cache=False).logits
        # Only positions that count go through the softmax, the dearest part of the step.
        weight = weights[:, 1:].flatten()
        counts = weight > 0
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1)[counts].float(), tokens[:, 1:].flatten()[counts], reduction="none"
        )
        loss = (losses * weight[counts]).sum() / weight.sum()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        running = loss.item() if step == 1 else 0.95 * running + 0.05 * loss.item()
        if step % 50 == 0 or step == steps:
            log.info("step %5d  loss %.4f  %5.0f s", step, running, time.monotonic() - started)


def save(model: LlamaForCausalLM, words: Tokenizer, folder: Path) -> None:
    """Write the weights in bfloat16, which halves the folder and costs no answer."""
    config = model.config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    model.bfloat16().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)

    merged, characters = tokenizer.learn_pieces(tokenizer_texts(), VOCABULARY)
    words = tokenizer.build(merged, characters)
    tokenizer.save(words, merged, characters, options.folder)
    model = LlamaForCausalLM(build_config(words))  # type: ignore[no-untyped-call]
    # Plain attention: for such short texts it is faster on a CPU than the fused kernel.
    model.set_attn_implementation("eager")
    log.info("%d tokens, %d parameters", words.get_vocab_size(), model.num_parameters())
    train(model, words, options.steps, options.batch, options.rate)
    save(model, words, options.folder)


if __name__ == "__main__":
    main()
