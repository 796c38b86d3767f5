"""What streaming an answer costs: `uv run python -m tests.bench.chat [MODEL] [--tokens N] [--rounds N]`.

Two ways to make the same tokens, in one process: a bare `generate` with transformers' TextStreamer, and the
engine's own chat, which sends each piece over its socket to a client in another process. They take turns in many
short rounds, each going first in every other one. What else the machine does only ever makes a round slower, so the
verdict compares the fastest tenth of each; the median of the pairs and its quartiles show how quiet it was.
The demo's model is tiny: a token takes it 1 or 2 milliseconds, where a model of 8B takes 15 to 30. So the cost per
token in microseconds is what to take along to a larger one.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
import unsloth  # noqa: F401  before transformers
from transformers import TextStreamer

from engine.config.run_spec import GenerationSpec, ModelSpec
from engine.inference.generate import generate, isolated_rng, sampling_arguments, stop_ids
from engine.model.inference_mode import inference_mode
from engine.model.loading import Loaded, load
from engine.prompting.prompt_format import PromptFormat, encode
from engine.protocol import commands as co
from engine.runtime.control import Control
from engine.runtime.event_writer import EventWriter
from engine.runtime.server import Server

MOST_COST, MOST_SECONDS = 0.03, 0.05
QUESTION = "Who are you?"
# A client: sends each request that it is given, and reads until the answer is whole.
READER = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
lines = s.makefile("rb")
for request in sys.stdin.buffer:
    s.sendall(request)
    while b'"Done"' not in lines.readline(): pass
"""


@dataclass(frozen=True)
class Round:
    """One answer: seconds in all, to the first token, and of this process on all its threads."""

    seconds: float
    first: float
    processor: float


class First(TextStreamer):  # type: ignore[misc]
    """The bare streamer, which notes when the first token came."""

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())
        super().put(value)

    times: list[float]


def timed(answer: Callable[[], float]) -> Round:
    """`answer` returns when its first token came."""
    began, spent = time.perf_counter(), time.process_time()
    first = answer()
    return Round(time.perf_counter() - began, first - began, time.process_time() - spent)


def bare(loaded: Loaded, ids: list[int], spec: GenerationSpec) -> Round:
    """`generate` with transformers' streamer, which prints to nowhere."""
    model, tokenizer = loaded.model, loaded.tokenizer
    prompt = torch.tensor([ids], device=model.device)
    streamer = First(tokenizer, skip_prompt=True)
    streamer.times = []

    def answer() -> float:
        model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=spec.max_new_tokens,
            eos_token_id=stop_ids(loaded), pad_token_id=tokenizer.pad_token_id, use_cache=True, streamer=streamer,
            **sampling_arguments(spec),
        )  # fmt: skip
        return streamer.times[1]  # the first call brings the prompt

    with isolated_rng(spec.seed), inference_mode(model), torch.no_grad(), redirect_stdout(io.StringIO()):
        return timed(answer)


class Chat:
    """The engine's chat on a socket, and a client of it."""

    def __init__(self, loaded: Loaded, spec: GenerationSpec, folder: Path, record: EventWriter) -> None:
        self._loaded, self._spec = loaded, spec
        self._control = Control(record)
        path = folder / "private/engine.sock"
        self._server = Server(path, self._control)
        self._reader = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE)

    def ask(self) -> Round:
        """One answer, of which the client has all when this returns."""
        messages = (co.ChatMessage("user", QUESTION),)
        assert self._reader.stdin
        request = co.Generate(id=1, messages=messages, adapter=False, generation=self._spec)
        self._reader.stdin.write(co.encode(request) + b"\n")
        self._reader.stdin.flush()
        job = self._control.next_job(20)
        assert job is not None
        times: list[float] = []

        def take(text: str) -> None:
            times.append(time.perf_counter())
            job.reply(co.Token(id=1, text=text))

        def answer() -> float:
            turns = [{"role": "user", "content": QUESTION}]
            generate(self._loaded, PromptFormat("messages"), turns, self._spec, adapter=False, on_text=take,
                     cancelled=lambda: job.cancelled.is_set() or self._control.ending)  # fmt: skip
            job.reply(co.Done(id=1))
            return times[0]

        found = timed(answer)
        self._control.job_done(job)
        return found

    def close(self) -> None:
        assert self._reader.stdin
        self._reader.stdin.close()
        self._reader.wait(20)
        self._server.close()


def main() -> int:
    """Print both, and their difference; 1 when it is more than it may be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=str(Path(__file__).parents[2] / "presets/demo/model"))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = EventWriter(Path(folder) / "events.jsonl")
        loaded = load(ModelSpec(model_name=options.model), record)
        record.enter("serving")
        spec = GenerationSpec(temperature=0, max_new_tokens=options.tokens)
        # Neither may stop early: then both make the same tokens.
        loaded.model.generation_config.min_new_tokens = options.tokens
        prompt_format = PromptFormat("messages" if loaded.tokenizer.chat_template else "plain")
        ids = encode(
            loaded.tokenizer, prompt_format.prompt(loaded.tokenizer, [{"role": "user", "content": QUESTION}])
        )
        chat = Chat(loaded, spec, Path(folder), record)
        pairs = []
        for number in range(-2, options.rounds):  # the first rounds warm up
            if number % 2:
                ours, plain = chat.ask(), bare(loaded, ids, spec)
            else:
                plain, ours = bare(loaded, ids, spec), chat.ask()
            if number >= 0:
                pairs.append((plain, ours))
        chat.close()
    return report(pairs, options.tokens)


def report(pairs: Sequence[tuple[Round, Round]], tokens: int) -> int:
    """Print what was measured; the exit code."""
    lines, fastest = [], []
    for name, side in zip(("bare generate", "engine's chat"), zip(*pairs, strict=True), strict=True):
        fastest.append(fastest_tenth([r.seconds for r in side]))
        middle = statistics.median(r.seconds for r in side)
        first = 1000 * statistics.median(r.first for r in side)
        processor = 1e6 * fastest_tenth([r.processor for r in side]) / tokens
        lines.append(
            f"{name}: {tokens / fastest[-1]:.1f} tokens/s in the fastest tenth, {tokens / middle:.1f} in "
            f"the median, first token after {first:.1f} ms, {processor:.0f} µs of processor time a token"
        )
    cost, each = fastest[1] / fastest[0] - 1, (fastest[1] - fastest[0]) / tokens
    lower, middle, upper = statistics.quantiles([ours.seconds / plain.seconds - 1 for plain, ours in pairs], n=4)
    added = statistics.median(ours.first - plain.first for plain, ours in pairs)
    lines += [
        f"streaming costs {cost:.1%} (at most {MOST_COST:.0%}), {each * 1e6:.0f} µs a token, in the fastest tenth",
        f"of {len(pairs)} pairs of {tokens} tokens: median {middle:.1%}, quartiles {lower:.1%} and {upper:.1%}",
        f"it adds {added * 1000:.1f} ms to the first token (at most {MOST_SECONDS * 1000:.0f} ms)",
    ]
    print("\n".join(lines))  # noqa: T201
    return 0 if cost < MOST_COST and added < MOST_SECONDS else 1


def fastest_tenth(values: Sequence[float]) -> float:
    """The mean of the smallest tenth."""
    return statistics.mean(sorted(values)[: max(1, len(values) // 10)])


if __name__ == "__main__":
    sys.exit(main())
