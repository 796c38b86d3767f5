"""What streaming an answer costs: `uv run python -m tests.bench_chat [MODEL] [--tokens N] [--rounds N]`.

A bare `generate` with transformers' TextStreamer, and the engine's own chat that sends each piece over its socket
to a client in another process, in turn and in the same process: the median of their times, and of the times to the
first token. Without a model, the demo's.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path

import torch
import unsloth  # noqa: F401  before transformers
from transformers import TextStreamer

from engine.chat import generate, inference, sampling, stop_ids, undisturbed
from engine.control import Control
from engine.model import load
from engine.record import EventWriter
from engine.serve import Server
from engine.spec import commands as co
from engine.spec.run import GenerationSpec, ModelSpec
from engine.style import Style, encode

QUESTION = [{"role": "user", "content": "Who are you?"}]
# Asks once, and reads until the answer is whole.
READER = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
for line in s.makefile("rb"):
    if b'"Done"' in line: break
"""


class First(TextStreamer):  # type: ignore[misc]
    """The bare streamer, which notes when the first token came."""

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())
        super().put(value)

    times: list[float]


def bare(loaded: object, ids: list[int], spec: GenerationSpec) -> tuple[float, float]:
    """(seconds in all, seconds to the first token) of `generate` with transformers' streamer."""
    model, tokenizer = loaded.model, loaded.tokenizer  # type: ignore[attr-defined]
    prompt = torch.tensor([ids], device=model.device)
    streamer = First(tokenizer, skip_prompt=True)
    streamer.times = []
    with undisturbed(spec.seed), inference(model), torch.no_grad(), redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=spec.max_new_tokens,
            min_new_tokens=spec.max_new_tokens, eos_token_id=stop_ids(loaded), pad_token_id=tokenizer.pad_token_id,  # type: ignore[arg-type]
            use_cache=True, streamer=streamer, **sampling(spec),
        )  # fmt: skip
        ended = time.perf_counter()
    return ended - began, streamer.times[1] - began  # the first call brings the prompt


def ours(loaded: object, spec: GenerationSpec, control: Control, path: Path) -> tuple[float, float]:
    """The same of the engine's chat, over its socket to a reader in a process of its own."""
    request = co.Generate(id=1, messages=(co.ChatMessage("user", "Who are you?"),), adapter=False, generation=spec)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE)
    threading.Thread(target=lambda: reader.communicate(co.encode(request) + b"\n"), daemon=True).start()
    job = control.next_job(20)
    assert job is not None
    times: list[float] = []

    def take(text: str) -> None:
        times.append(time.perf_counter())
        job.reply(co.Token(id=1, text=text))

    began = time.perf_counter()
    generate(loaded, Style("messages"), QUESTION, spec, adapter=False, take=take, cancelled=job.cancelled.is_set)  # type: ignore[arg-type]
    ended = time.perf_counter()
    job.reply(co.Done(id=1))
    control.finished(job)
    reader.wait(20)
    return ended - began, times[0] - began


def main() -> int:
    """Print both, and their difference; 1 when it is more than it may be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=str(Path(__file__).parents[1] / "presets/demo/model"))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = EventWriter(Path(folder) / "events.jsonl")
        loaded = load(ModelSpec(model_name=options.model), record)
        record.enter("serving")
        control = Control(record)
        server = Server(Path(folder) / "private/engine.sock", control)
        spec = GenerationSpec(temperature=0, max_new_tokens=options.tokens)
        # Neither may stop early: then both make the same tokens.
        loaded.model.generation_config.min_new_tokens = options.tokens
        ids = encode(loaded.tokenizer, Style("messages").prompt(loaded.tokenizer, QUESTION))
        bare(loaded, ids, spec)
        pairs = [
            (bare(loaded, ids, spec), ours(loaded, spec, control, Path(folder) / "private/engine.sock"))
            for _ in range(options.rounds)
        ]
        server.close()
    plain, chat = ([statistics.median(one[n] for one in side) for n in (0, 1)] for side in zip(*pairs, strict=True))
    cost, added = chat[0] / plain[0] - 1, chat[1] - plain[1]
    lines = [
        f"bare generate: {options.tokens / plain[0]:8.1f} tokens/s, first after {plain[1] * 1000:6.1f} ms",
        f"engine's chat: {options.tokens / chat[0]:8.1f} tokens/s, first after {chat[1] * 1000:6.1f} ms",
        f"streaming costs {cost:.1%} (at most 3%) and {added * 1000:.1f} ms to the first token (at most 50 ms)",
    ]
    print("\n".join(lines))  # noqa: T201
    return 0 if cost < 0.03 and added < 0.05 else 1


if __name__ == "__main__":
    sys.exit(main())
