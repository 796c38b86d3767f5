"""The answers to the test prompts at each checkpoint, side by side: chat with the best, or copy its adapter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Footer, Static

from engine.export.checkpoint_adapter import checkpoint_at, export_checkpoint_adapter
from engine.messages.errors import UserError
from engine.protocol.events import Answered
from engine.protocol.state import RunState
from tui.dialogs.ask import LineDialog
from tui.dialogs.show import PromptDialog
from tui.screens.base import LorisScreen, RunChanged
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.top_bar import TopBar

CELLS, LINES = 26, 3  # of an answer in the table; the full text is below it
PROMPT_CELLS = 18


@dataclass(frozen=True)
class Column:
    """A state of the model. `step`: of a checkpoint; None for the model before training and the final adapter."""

    step: int | None
    adapter: bool

    def title(self, state: RunState) -> str:
        """The header: a checkpoint's step, with its loss if one was logged."""
        if self.step is None:
            if self.adapter:
                return _("after training")
            return _("before training") if state.continues_adapter else _("base model")
        words = _("step {step}").format(step=self.step)
        at = {round(step): value for step, value in zip(state.loss.steps, state.loss.values, strict=True)}
        return f"{words} · {at[self.step]:.4f}" if self.step in at else words


@dataclass(frozen=True)
class PromptTable:
    """`cells`: the newest answer of each (prompt, column); some may be missing."""

    prompts: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, Column], Answered]

    @classmethod
    def of(cls, state: RunState) -> PromptTable:
        """All answers so far."""
        cells = {(a.prompt, Column(a.step, a.adapter)): a for a in state.answers}
        columns = {column for _prompt, column in cells}
        prompts = tuple(dict.fromkeys(answer.prompt for answer in state.answers))
        return cls(prompts, tuple(sorted(columns, key=_order)), cells)


def _order(column: Column) -> tuple[int, int]:
    """Sort key: before training, then the checkpoints by step, then the final adapter."""
    if column.step is None:
        return (2, 0) if column.adapter else (0, 0)
    return 1, column.step


class PromptTableScreen(LorisScreen):
    """Columns are added during training; the cursor stays in place."""

    CSS = """
    PromptTableScreen DataTable { height: 1fr; }
    PromptTableScreen #whole { height: 8; border-top: solid $foreground 20%; padding: 0 1; }
    PromptTableScreen #whole { scrollbar-size-vertical: 1; }
    PromptTableScreen #whole Static { height: auto; }
    PromptTableScreen #state { height: 1; padding: 0 1; color: $foreground-muted; text-wrap: nowrap; }
    PromptTableScreen #state { text-overflow: ellipsis; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "whole", N_("Whole answer"), id="samples.whole", tooltip=N_("Read all of the answer")),
        Binding(
            "c", "chat", N_("Chat with it"), id="samples.chat", tooltip=N_("Compare it with the final adapter")
        ),
        Binding("s", "save", N_("Keep it"), id="samples.save", tooltip=N_("Copy this checkpoint's adapter")),
        Binding("h,escape", "back", N_("Back"), id="samples.back", tooltip=N_("Back to the run")),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table = PromptTable((), (), {})
        self._shown = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        table: DataTable[Text] = DataTable(cursor_type="cell", fixed_columns=1, zebra_stripes=True)
        yield table
        with VerticalScroll(id="whole", can_focus=False):
            yield Static(markup=False)
        yield Static(id="state", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._show()
        table = self.query_one(DataTable)
        if self._table.columns:
            table.move_cursor(row=0, column=len(self._table.columns), animate=False)

    def on_run_changed(self, _message: RunChanged) -> None:
        self._show()

    def _show(self) -> None:
        session = self.loris.session
        self.query_one(TopBar).show(" · ".join(filter(None, (_("Prompts"), session.title))))
        found = PromptTable.of(session.state)
        if self._shown and found == self._table:
            return
        self._table, self._shown = found, True
        table = self.query_one(DataTable)
        at = table.cursor_coordinate
        table.clear(columns=True)
        table.add_column(_("prompt"), width=PROMPT_CELLS)
        for column in found.columns:
            table.add_column(Text(column.title(session.state)), width=CELLS)
        for prompt in found.prompts:
            answers = [found.cells.get((prompt, column)) for column in found.columns]
            table.add_row(
                _cell(prompt, PROMPT_CELLS, "bold"),
                *(_cell(answer.answer, CELLS) if answer else Text("…", "dim") for answer in answers),
                height=LINES,
            )
        table.cursor_coordinate = at
        self._show_cell()

    def on_data_table_cell_highlighted(self, _event: DataTable.CellHighlighted) -> None:
        self._show_cell()

    @property
    def _at(self) -> tuple[str, Column | None]:
        """(prompt, column) under the cursor; the column is None on a prompt."""
        row, column = self.query_one(DataTable).cursor_coordinate
        prompts, columns = self._table.prompts, self._table.columns
        prompt = prompts[row] if row < len(prompts) else ""
        return prompt, columns[column - 1] if 0 < column <= len(columns) else None

    def _answer_text(self) -> str:
        prompt, column = self._at
        answer = self._table.cells.get((prompt, column)) if column else None
        return visible(answer.answer).strip() if answer else ""

    def _show_cell(self) -> None:
        prompt, column = self._at
        if not self._table.prompts:
            whole = Content(_("Answers to the test prompts appear here, before and after training."))
        elif column is None:
            whole = Content(visible(prompt))
        else:
            title = f"» {visible(prompt)}  {column.title(self.loris.session.state)}\n"
            whole = Content.assemble((title, "bold"), self._answer_text())
        self.query_one("#whole Static", Static).update(whole)
        self.query_one("#state", Static).update(self._describe_column(column))

    def _describe_column(self, column: Column | None) -> str:
        folder = self.loris.session.folder
        if column is None or folder is None:
            return _("← → go from checkpoint to checkpoint.")
        if column.step is None:
            return _("← → go from checkpoint to checkpoint.") if not column.adapter else _("The run's own adapter.")
        if checkpoint_at(folder, column.step):
            return _("The checkpoint of step {step} is kept: c chats with it, s copies it.").format(
                step=column.step
            )
        return _("The checkpoint of step {step} is no longer kept.").format(step=column.step)

    # Keys

    def on_data_table_cell_selected(self, _event: DataTable.CellSelected) -> None:
        self.action_whole()

    def action_whole(self) -> None:
        if words := self._answer_text():
            self.app.push_screen(PromptDialog(words, visible(self._at[0])))

    def action_chat(self) -> None:
        """The chat always has the base and the final adapter; a checkpoint is added to them."""
        session, (_prompt, column) = self.loris.session, self._at
        if column is None or session.folder is None:
            return
        if column.step is None:
            self.loris.go("chat")
            return
        path = checkpoint_at(session.folder, column.step)
        if path is None:
            self.notify(self._describe_column(column))
        elif session.state.whole:
            self.notify(_("All weights were trained: a checkpoint cannot answer beside the model. Keep it with s."))
        elif not session.state.trained:
            self.notify(_("Wait until training is over: then you can chat with the checkpoints."))
        else:
            session.other = str(path)
            self.loris.go("chat", "other")

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        session, (_prompt, column) = self.loris.session, self._at
        if column is None or column.step is None or session.folder is None:
            if column is not None and column.adapter:
                self.loris.go("save")
            return
        title = _("Copy the adapter of step {step} into the folder")
        if session.spec and session.spec.model.full_finetuning:
            title = _("Copy the model of step {step} into the folder")
        typed = await self.app.push_screen_wait(
            LineDialog(title.format(step=column.step), "", _("Empty: the run's own folder."))
        )
        if typed is None:
            return
        try:
            target = await asyncio.to_thread(export_checkpoint_adapter, session.folder, column.step, typed)
        except UserError as error:
            self.notify(visible(render(error.message)), severity="error", markup=False)
            return
        self.query_one("#state", Static).update(visible(_("Saved at {path}").format(path=target)))

    def action_back(self) -> None:
        self.loris.go("live")


def _cell(text: str, cells: int, style: str = "") -> Text:
    """The first lines of a text, without markup."""
    found = Text(" ".join(visible(text).split()), style)
    found.truncate(cells * LINES - 2, overflow="ellipsis")
    return found
