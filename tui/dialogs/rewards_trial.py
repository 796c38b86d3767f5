"""The trial of the rewards: answers of the model as it is, scored by every check."""

from __future__ import annotations

from contextlib import aclosing

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from engine.client.serving import wait_for_engine
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import Message
from engine.protocol import events as ev
from engine.protocol.commands import Done, Refused
from tui.dialogs.modal import Modal
from tui.state.run_session import RunSession
from tui.text.errors import describe_error
from tui.text.rewards import answer_cells, describe_spread, end_of, headers_of, one_line, rows_of
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import _, render


class RewardsTrialDialog(Modal[None]):
    """Waits for the engine, then asks it. Closing cancels."""

    DEFAULT_CSS = """
    RewardsTrialDialog > Vertical { width: 96%; height: 94%; }
    RewardsTrialDialog #verdict { height: auto; }
    RewardsTrialDialog #verdict.-wrong { color: $text-error; }
    RewardsTrialDialog DataTable { height: 1fr; margin: 1 0; }
    RewardsTrialDialog VerticalScroll { height: 4; background: $panel; padding: 0 1; }
    RewardsTrialDialog VerticalScroll Static { height: auto; }
    """

    def __init__(self, session: RunSession, spec: RunSpec) -> None:
        super().__init__()
        self._session, self._spec = session, spec
        self._texts: list[str] = []  # in full, of each row

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Rewards, tried on answers of the model as it is"), markup=False, classes="title")
            yield Static("", markup=False, id="verdict")
            table: DataTable[Text] = DataTable(cursor_type="row", fixed_columns=1)
            yield table
            with VerticalScroll(can_focus=False):
                yield Static("", markup=False, id="whole")
            yield Static(_("↑ ↓ shows an answer in full, Esc closes. ~: it was cut."), markup=False, classes="note")

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._try()

    @work(exclusive=True, group="trial")
    async def _try(self) -> None:
        try:
            await wait_for_engine(self._session, lambda *waits: self._say("… " + describe_waiting(*waits)))
            self._say(_("… The model answers 8 prompts, which may take a minute."))
            async with aclosing(self._session.try_rewards(self._spec)) as replies:
                async for reply in replies:
                    if isinstance(reply, Refused):
                        self._say("✗ " + render(reply.message), wrong=True)
                    elif isinstance(reply, Done):
                        await self._session.catch_up()
                        self._show(self._session.state.trial, reply.note)
        except UserError as error:
            self._say("✗ " + describe_error(error), wrong=True)

    def _say(self, words: str, wrong: bool = False) -> None:
        if self.is_mounted:
            verdict = self.query_one("#verdict", Static)
            verdict.update(Content(visible(words)))
            verdict.set_class(wrong, "-wrong")

    def _show(self, trial: ev.Completions | None, nothing: Message | None) -> None:
        """The table, and why nothing can be learned."""
        if trial is not None:
            self._say("✗ " + render(nothing) if nothing else describe_spread(trial), wrong=nothing is not None)
            self.call_after_refresh(self._fill, trial)  # its width is known only once it is laid out

    def _fill(self, trial: ev.Completions) -> None:
        table, headers = self.query_one(DataTable), headers_of(trial)
        cells = answer_cells(headers, table.size.width)
        table.add_column(_("Prompts and answers"), width=cells)
        for header in headers:
            table.add_column(Text(visible(header)))
        for words, scores in rows_of(trial):
            if scores:
                shown = Text("  " + visible(one_line(words)), no_wrap=True, overflow="ellipsis")
            else:
                shown, scores = Text(end_of(visible(words), cells), "bold"), [""] * len(headers)
            table.add_row(shown, *(Text(score, justify="right") for score in scores))
            self._texts.append(words)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.cursor_row < len(self._texts):
            self.query_one("#whole", Static).update(Content(visible(self._texts[event.cursor_row])))
