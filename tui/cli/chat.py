"""`loris chat`: chat with a trained model without the wizard, interactively or with one prompt."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from engine.client.connection import Connection
from engine.client.serving import find_target, serving
from engine.config.fields import field_info, parse_field
from engine.config.run_spec import GenerationSpec
from engine.config.sampling_presets import SAMPLING_PRESETS, apply_sampling_preset
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, FAILED, INTERRUPTED
from engine.messages.message import say
from engine.protocol.commands import ChatMessage, Done, Generate, Refused, ShowPrompt, Token
from tui.cli.run_choice import find_run
from tui.cli.score import print_scores, wants_scores
from tui.text.amounts import rate
from tui.text.errors import fail, print_error
from tui.text.json_output import to_json
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

NUMBERS = ("max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
HELP = N_(
    "/new forgets the conversation, /retry asks again with another seed, /raw shows the prompt as the model gets "
    "it, /adapter /base /compare say who answers, /exit leaves. Ctrl-C stops an answer."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `loris chat`."""
    parser.add_argument("target", metavar=_("RUN|FOLDER"), help=_("a run's name or folder, or an adapter's folder"))
    parser.add_argument("--prompt", metavar=_("TEXT"), help=_("ask this once, print the answer, and end"))
    parser.add_argument(
        "--input", metavar=_("TEXT"), help=_("with --prompt: the input that goes with it, for Alpaca models")
    )
    parser.add_argument(
        "--answer", metavar=_("TEXT"), action="append",
        help=_("of a reward model: score this answer to --prompt; several can be given"),
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help=_("print each answer as one JSON line"))
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--base", action="store_true", help=_("ask the base model, without the adapter"))
    group.add_argument("--compare", action="store_true", help=_("ask the base model and the adapter, same seed"))
    group.add_argument(
        "--with", dest="other", metavar=_("RUN|FOLDER"), help=_("compare with another adapter of this base model")
    )
    parser.add_argument("--raw", action="store_true", help=_("with --prompt: print what the model would be given"))
    parser.add_argument("--system", metavar=_("TEXT"), help=_("the system prompt"))
    parser.add_argument("--sampling", choices=list(SAMPLING_PRESETS), help=_("a named way to sample"))
    for name in NUMBERS:
        info = field_info(f"generation.{name}")
        parser.add_argument(
            "--" + name.replace("_", "-"), dest=name, metavar="N", help=_(info.help).replace("%", "%%")
        )


def generation_of(options: argparse.Namespace, start: GenerationSpec) -> GenerationSpec:
    """The generation settings: the run's, changed by the options. Raises `UserError`."""
    spec = apply_sampling_preset(start, options.sampling) if options.sampling else start
    changed: dict[str, Any] = {} if options.system is None else {"system_prompt": options.system}
    for name in NUMBERS:
        if (typed := getattr(options, name)) is not None:
            value, error = parse_field(field_info(f"generation.{name}"), typed)
            if error:
                raise UserError("bad_option", error, field="--" + name.replace("_", "-"))
            changed[name] = value
    return msgspec.structs.replace(spec, **changed)


def run_chat(options: argparse.Namespace) -> int:
    """Chat; returns an exit code."""
    try:
        if options.prompt is not None and not options.prompt.strip():  # usually a shell variable that is not set
            raise UserError("bad_option", say("Give a question."), field="--prompt")
        if options.input is not None and options.prompt is None:
            raise UserError("bad_option", say("Give the question too, with --prompt."), field="--input")
        run, model = find_target(_resolve_target(options.target))
        scores = wants_scores(options, run, model)
        other = ""
        if options.other:
            aside, _folder = find_target(_resolve_target(options.other))
            other = str(aside.path if aside else options.other)
        start = GenerationSpec()
        if run is not None:
            with suppress(SpecError):
                start = load_spec(run.spec).generation
        generation = generation_of(options, start)
    except UserError as error:
        return fail(error)
    speakers = Speakers.of(options, other)
    loading = cache(lambda: print_error(_("Loading the model…")))  # printed once
    with asyncio.Runner() as runner:
        engine = AsyncExitStack()
        try:
            entered = engine.enter_async_context(serving(run, lambda *_waits: loading(), str(model)))
            control, client = runner.run(entered)
            loaded = client.state.model
            if scores:
                return runner.run(print_scores(control, options.prompt, options.answer, options.json))
            if run is None and not (loaded and loaded.has_adapter):
                if options.compare or other:
                    print_error(_("There is no adapter in this folder: only the model itself can answer."))
                    return BAD_INPUT
                speakers = Speakers.base()
            if client.state.whole:
                if options.compare or options.base or other:
                    print_error(_("All weights of this run were trained: only the trained model can answer."))
                    return BAD_INPUT
                speakers = Speakers((("model", True, ""),))
            if client.state.continues_adapter and not all(adapter for _label, adapter, _other in speakers.each):
                print_error(_("This run trained an earlier adapter further: for the base model, that one answers."))
            chat = Chat(control, generation, speakers, options.json, options.input or "")
            if options.prompt is not None:
                return runner.run(chat.raw(options.prompt) if options.raw else chat.ask(options.prompt))
            return _chat_loop(runner, chat)
        except UserError as error:
            return fail(error)
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            with suppress(KeyboardInterrupt):
                runner.run(engine.aclose())


def _resolve_target(target: str) -> str:
    """The target as a path: a folder, or a run by any name that the other commands accept.

    Raises `UserError` when several runs match; when none does, `find_target` reports it.
    """
    if target and not os.path.lexists(os.path.expanduser(target)):
        try:
            return str(find_run(target).folder.path)
        except UserError as error:
            if error.code == "several_runs":
                raise
    return target


@dataclass(frozen=True)
class Speakers:
    """Who answers, in order: (label, whether with an adapter, another adapter's folder)."""

    each: tuple[tuple[str, bool, str], ...]

    @classmethod
    def base(cls) -> Speakers:
        return cls((("base", False, ""),))

    @classmethod
    def of(cls, options: argparse.Namespace, other: str) -> Speakers:
        own = ("adapter", True, "")
        if other:
            return cls((own, (options.other, True, other)))
        if options.compare:
            return cls((("base", False, ""), own))
        return cls.base() if options.base else cls((own,))


def _chat_loop(runner: asyncio.Runner, chat: Chat) -> int:
    """Answer questions from standard input until it ends. Returns the exit code of the last answer."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        print_error(_(HELP))
    code = COMPLETED
    while True:
        try:
            line = input("» " if interactive else "").strip()
        except (EOFError, KeyboardInterrupt):
            if interactive:
                print()  # noqa: T201
            return code
        if line in ("/exit", "/quit"):
            return code
        try:
            code = runner.run(chat.handle(line)) if line else code
        except KeyboardInterrupt:
            print_error("\n" + _("stopped"))


class Chat:
    """A conversation on the command line."""

    def __init__(
        self, control: Connection, generation: GenerationSpec, speakers: Speakers, as_json: bool, extra: str = ""
    ) -> None:
        self._extra = extra  # the input of the first question
        self._control, self._generation, self._speakers, self._json = control, generation, speakers, as_json
        self._before: list[ChatMessage] = []
        self._last = ""

    async def handle(self, line: str) -> int:
        """Handle a question, or a command that starts with a slash."""
        match line:
            case "/new":
                self._before, self._last = [], ""
            case "/retry" if self._last:
                self._before = self._before[:-2]
                self._generation = msgspec.structs.replace(self._generation, seed=self._generation.seed + 1)
                return await self.ask(self._last)
            case "/raw":
                return await self.raw(self._last)
            case "/adapter":
                self._speakers = Speakers((("adapter", True, ""),))
            case "/base":
                self._speakers = Speakers.base()
            case "/compare":
                self._speakers = Speakers((("base", False, ""), ("adapter", True, "")))
            case _ if line.startswith("/"):
                print_error(_(HELP))
            case _:
                return await self.ask(line)
        return COMPLETED

    async def raw(self, question: str) -> int:
        """Print the prompt as the model receives it."""
        messages = (*self._before, ChatMessage("user", question, self._extra))
        request = self._control.request(ShowPrompt(id=0, messages=messages, generation=self._generation))
        async for reply in request:
            if isinstance(reply, Done):
                print(visible(reply.text), flush=True)  # noqa: T201
            elif isinstance(reply, Refused):
                return self._refused(reply)
        return COMPLETED

    async def ask(self, question: str) -> int:
        """Ask each speaker, and print the answers as they stream."""
        messages = (*self._before, ChatMessage("user", question, self._extra))
        self._last, said, code = question, "", COMPLETED
        for label, adapter, other in self._speakers.each:
            if len(self._speakers.each) > 1 and not self._json:
                print(visible(f"[{label}]"), flush=True)  # noqa: T201
            said, code = await self._answer(label, messages, adapter, other)
            if code:
                return code
        self._before = [*messages, ChatMessage("assistant", said)]
        return code

    async def _answer(
        self, label: str, messages: tuple[ChatMessage, ...], adapter: bool, other: str
    ) -> tuple[str, int]:
        command = Generate(id=0, messages=messages, adapter=adapter, generation=self._generation, other=other)
        request, said = self._control.request(command), ""
        try:
            async for reply in request:
                match reply:
                    case Token(text=text):
                        said += text
                        if not self._json:
                            sys.stdout.write(visible(text))
                            sys.stdout.flush()
                    case Done():
                        self._end(label, messages[-1].content, said, adapter, reply)
                    case Refused():
                        return said, self._refused(reply)
        finally:
            with suppress(UserError):
                request.cancel()
        return said, COMPLETED

    def _end(self, label: str, prompt: str, said: str, adapter: bool, done: Done) -> None:
        note = render(done.note) if done.note else ""
        if self._json:
            found = {
                "who": label, "prompt": prompt, "input": self._extra, "answer": said, "adapter": adapter,
                "tokens": done.tokens,
                "seconds": round(done.seconds, 3), "finish_reason": done.finish_reason,
                "prompt_tokens": done.prompt_tokens, "context_tokens": done.context_tokens, "note": note,
            }  # fmt: skip
            print(to_json(found), flush=True)  # noqa: T201
            return
        print(flush=True)  # noqa: T201
        context = _("{used} of {limit} tokens of context").format(
            used=done.prompt_tokens + done.tokens, limit=done.context_tokens
        )
        parts = [_("{count} tokens").format(count=done.tokens), rate(done.tokens, done.seconds), context]
        if done.finish_reason == "length":
            parts.append(_("cut at {count} tokens").format(count=done.tokens))
        if sys.stderr.isatty():
            print_error("  " + " · ".join(part for part in parts if part))
        if note:
            print_error(visible(note))

    def _refused(self, reply: Refused) -> int:
        print_error(visible(render(reply.message)))
        return FAILED
