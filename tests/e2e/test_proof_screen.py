"""The data half of a notebook by keys alone, with the worker that really loads Unsloth: one app, many datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from engine.config.prompt_templates import ALPACA, ALPACA_ZH
from engine.protocol.data_report import DataReport
from tests.helpers.fake_run import screen_text
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, at_step, loris, settle, type_into, walk_to, wizard
from tui.app import LorisApp
from tui.dialogs.ask import ChooseDialog
from tui.dialogs.dataset import MappingDialog
from tui.screens.proof import ProofScreen
from tui.widgets.list_box import ListBox
from tui.widgets.token_view import LEARNED, MASKED

ALPACA_ROWS = [
    {"instruction": "你是谁？", "input": "", "output": "我是懒猴 Loris。"},
    {"instruction": "Add.", "input": "2 and 3", "output": "5"},
]
RUOZHIBA = [{"instruction": "石油是植物吗？", "output": "石油来自远古生物。"}] * 3
SHAREGPT = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "score": 5.0}
] * 3
WORKER_SECONDS = 120.0


async def prove(pilot: Pilot[None]) -> DataReport:
    """Press F7 and wait for the report of what is in the form."""
    app = loris(pilot)
    await settle(pilot)
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(app.screen, ProofScreen))
    await until(
        pilot, lambda: app.proofs.progress is None and app.proofs.matches(app.draft.valid_parts()), WORKER_SECONDS
    )
    await pilot.pause()
    assert app.proofs.report, app.proofs.failed
    return app.proofs.report


async def choose_column(pilot: Pilot[None], role: str, *keys: str) -> None:
    """Open the menu of what fills a role, and choose there."""
    await walk_to(pilot, f"dataset.{role}_column")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(loris(pilot).screen, MappingDialog))
    while not isinstance(pilot.app.focused, ListBox):
        await pilot.press("tab")
    await pilot.press(*keys)
    await until(pilot, at_step(pilot, "dataset"))
    await settle(pilot)


async def back(pilot: Pilot[None]) -> None:
    await pilot.press("escape")
    await until(pilot, at_step(pilot, "dataset"))
    await settle(pilot)


def write(path: Path, rows: list[dict[str, Any]], lines: bool = True) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return str(path)


def gutters(pilot: Pilot[None]) -> tuple[str, str]:
    """(what is shown as learned, as masked), by the gutter alone."""
    lines = [line.strip() for line in screen_text(loris(pilot)).splitlines()]
    lines = [line for line in lines if "↵ line end" not in line]  # the legend
    return (
        "".join(line[2:] for line in lines if line.startswith(LEARNED)),
        "".join(line[2:] for line in lines if line.startswith(MASKED)),
    )


async def test_the_data_steps_of_the_notebooks(tmp_path: Path) -> None:
    app = LorisApp(language="en", preset="demo", backend=RecordingBackend())
    async with app.run_test(size=(80, 50)) as pilot:
        await settle(pilot)
        await pilot.press("enter")  # the demo is offered first
        await until(pilot, at_step(pilot, "review"))
        await pilot.press("f4")
        await until(pilot, at_step(pilot, "dataset"))

        # Row 4 and 10: Alpaca with the Chinese prompt; the end is learned, the prompt is not.
        await type_into(pilot, "dataset.path", write(tmp_path / "alpaca.jsonl", ALPACA_ROWS))
        await walk_to(pilot, "dataset.prompt_template")
        await pilot.press("shift+tab", "right")  # from the English text to the Chinese one
        await settle(pilot)
        assert app.draft["dataset.prompt_template"] == ALPACA_ZH
        report = await prove(pilot)
        eos = report.eos_token
        assert report.format == "alpaca"
        assert (
            report.examples[0].text
            == ALPACA_ZH.format(instruction="你是谁？", input="", output="我是懒猴 Loris。") + eos
        )
        learned, masked = gutters(pilot)
        assert learned.replace("↵", "").endswith(f"我是懒猴 Loris。{eos}")
        assert "你是谁？" in masked
        assert "你是谁？" not in learned

        # Row 8: the same row before the template, and after it.
        await pilot.press("v")
        assert ALPACA_ZH.split("\n")[0][:10] in screen_text(app)
        await pilot.press("v")
        assert '"output": "我是懒猴 Loris。"' in screen_text(app)
        await pilot.press("v")

        # Row 9: with everything learned, there is nothing masked.
        share = report.learned_tokens / report.tokens
        await back(pilot)
        await walk_to(pilot, "dataset.train_on_responses_only")
        await pilot.press("space")
        report = await prove(pilot)
        assert report.learned_tokens / report.tokens > share
        assert gutters(pilot)[1] == ""
        await back(pilot)
        await walk_to(pilot, "dataset.train_on_responses_only")
        await pilot.press("space")

        # Row 5: instruction and output alone; the instruction becomes the input, by the menus of the columns.
        await type_into(pilot, "dataset.path", write(tmp_path / "ruozhiba.jsonl", RUOZHIBA))
        await until(pilot, lambda: wizard(pilot)._seen is not None and wizard(pilot)._seen.total == 3)  # type: ignore[attr-defined]
        for field, keys in (("instruction", ("end", "enter")), ("input", ("home", "enter"))):
            await choose_column(pilot, field, *keys)
        assert app.draft["dataset.instruction_column"] == ""
        assert app.draft["dataset.input_column"] == "instruction"
        report = await prove(pilot)
        text = ALPACA_ZH.format(instruction="", input="石油是植物吗？", output="石油来自远古生物。")
        assert report.examples[0].text == text + eos
        assert "石油来自远古生物。" in gutters(pilot)[0].replace("↵", "")
        await back(pilot)

        # Row 6: train.json, a list of rows, one of them with an input.
        await type_into(pilot, "dataset.path", write(tmp_path / "train.json", ALPACA_ROWS, lines=False))
        await until(pilot, lambda: wizard(pilot)._seen is not None and wizard(pilot)._seen.total == 2)  # type: ignore[attr-defined]
        await choose_column(pilot, "instruction", "home", "enter")
        await choose_column(pilot, "input", "home", "down", "enter")
        await walk_to(pilot, "dataset.prompt_template")
        await pilot.press("shift+tab", "left")
        await settle(pilot)
        report = await prove(pilot)
        assert [row.text for row in report.examples] == [ALPACA.format(**row) + eos for row in ALPACA_ROWS]
        await pilot.press("n")
        assert "2 and 3" in gutters(pilot)[1]
        await back(pilot)

        # Row 7: ShareGPT, with a template that is chosen by its name.
        await type_into(pilot, "dataset.path", write(tmp_path / "chats.jsonl", SHAREGPT))
        await walk_to(pilot, "dataset.chat_template")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChooseDialog))
        await pilot.press("down", "enter")  # the first after auto
        await until(pilot, at_step(pilot, "dataset"))
        assert app.draft["dataset.chat_template"] == "chatml"
        report = await prove(pilot)
        assert report.variant == "sharegpt"
        assert report.response_part.strip() == "<|im_start|>assistant"
        assert report.examples[0].text.startswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.")
        learned, masked = gutters(pilot)
        assert learned.startswith("Hello.<|im_end|>")
        assert "<|im_start|>user↵Hi<|im_end|>" in masked
        assert "<|im_start|>assistant↵" in masked

        # A length too short for any answer is a stop, and one key mends it.
        await back(pilot)
        await pilot.press("f2")
        await until(pilot, at_step(pilot, "model"))
        await walk_to(pilot, "model.max_seq_length")
        await type_into(pilot, "model.max_seq_length", "16")
        await pilot.press("f4")
        await until(pilot, at_step(pilot, "dataset"))
        await settle(pilot)
        await pilot.press("f7")
        await until(pilot, lambda: "Nothing would be learned" in screen_text(app), WORKER_SECONDS)
        await pilot.press("1")
        await until(pilot, lambda: "good to train" in screen_text(app), WORKER_SECONDS)
        assert app.draft["model.max_seq_length"] > 16

        # Any row, by its number.
        await pilot.press("g", "3", "enter")
        await until(pilot, lambda: "Row 3" in screen_text(app), WORKER_SECONDS)
        app.proofs.close()
