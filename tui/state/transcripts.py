"""Conversations on disk: each turn in the run's folder, and good answers as new training data."""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.config.files import APPEND, write_text
from engine.config.paths import home
from engine.config.prompts import join_input
from engine.config.run_spec import GenerationSpec
from engine.protocol.commands import ChatMessage
from engine.runs.folder import RunFolder
from tui.state.run_session import Turn


def new_transcript(folder: RunFolder) -> Path:
    """The file for a conversation that starts now."""
    return folder.chats / time.strftime("%Y-%m-%d-%H%M%S.jsonl")


def append_turn(path: Path, turn: Turn, generation: GenerationSpec) -> None:
    """Append a turn to a transcript. Raises OSError."""
    settings = msgspec.to_builtins(generation)
    settings.pop("prompts", None)
    answers = [
        {
            "who": "base" if not answer.adapter else answer.other or "adapter",
            "text": answer.text, "note": answer.note, "failed": answer.failed,
        }
        for answer in turn.answers
    ]  # fmt: skip
    asked = {"question": turn.question, **({"input": turn.input} if turn.input else {})}
    _append(path, {"time": time.time(), **asked, "answers": answers, "generation": settings})


def collected_file(folder: RunFolder) -> Path:
    """The file of good answers of a run: a dataset to train on."""
    return home()[0] / "collected" / (re.sub(r"[^\w.-]+", "-", folder.name) + ".jsonl")


def append_example(path: Path, messages: Sequence[ChatMessage]) -> None:
    """Append a conversation as an example in the messages format. Raises OSError."""
    _append(path, {"messages": [{"role": m.role, "content": join_input(m.content, m.input)} for m in messages]})


def _append(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(path, json.dumps(line, ensure_ascii=False) + "\n", APPEND, 0o666)
