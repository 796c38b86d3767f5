"""`loris chat` with a reward model: prints the scores of answers to a prompt."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.client.connection import Connection
from engine.messages.errors import UserError
from engine.messages.exit_codes import COMPLETED
from engine.messages.message import say
from engine.protocol.commands import Score
from engine.runs.folder import RunFolder
from engine.runs.model_folder import is_reward_model
from tui.text.json_output import to_json
from tui.text.sanitize import visible


def wants_scores(options: argparse.Namespace, run: RunFolder | None, model: Path | None) -> bool:
    """Whether the target is a reward model. Raises `UserError` if the options do not fit it."""
    folder = run.adapter if run else model
    scores = folder is not None and is_reward_model(folder)
    if options.answer and not scores:
        raise UserError("bad_option", say("This model writes answers: only a reward model scores them."),
                        field="--answer")  # fmt: skip
    if scores and not (options.answer and options.prompt):
        raise UserError("bad_option", say("A reward model scores answers: give --prompt and --answer."),
                        field="--prompt" if options.answer else "--answer")  # fmt: skip
    return scores


async def print_scores(control: Connection, prompt: str, answers: list[str], as_json: bool) -> int:
    """Score the answers and print a line for each. Raises `UserError`."""
    done = await control.ask(Score(id=0, prompt=prompt, answers=tuple(answers)))
    for answer, score in zip(answers, done.scores, strict=True):
        found = {"prompt": prompt, "answer": answer, "score": score}
        print(to_json(found) if as_json else f"{score:9.4f}  {visible(answer)}", flush=True)  # noqa: T201
    return COMPLETED
