"""The Review step: a summary, remaining errors, differences from the preset, and the start."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, OptionList

from engine.config.fields import field_info
from engine.config.run_spec import RunSpec
from engine.config.spec_files import PATH_FIELDS
from engine.messages.message import Message
from engine.preflight.check import check_inputs
from engine.protocol.data_report import DataProblem
from engine.runs.run_list import list_runs
from tui.dialogs.allow_command import ask_about_rewards, command_question
from tui.screens.base import PaletteEntry
from tui.screens.wizard import STEPS, WizardScreen, step_of
from tui.state.dataset_cache import peek_local
from tui.state.draft import METHOD
from tui.text.run import describe_differences, describe_run
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.list_box import ListBox
from tui.widgets.literal_text import LiteralText


class ReviewScreen(WizardScreen):
    """Start runs the preflight again and refuses when it finds errors."""

    STEP = "review"
    INTRO = N_("Check everything, then start. Training continues if the connection drops.")
    FIELDS = ("name",)
    FOLDS = (
        (
            N_("Test prompts and answers"),
            (
                "generation.prompts",
                "generation.prompts_at_checkpoints",
                "generation.system_prompt",
                "generation.max_new_tokens",
                "generation.temperature",
                "generation.min_p",
                "generation.top_p",
                "generation.top_k",
                "generation.repetition_penalty",
                "generation.seed",
            ),
        ),
        (
            N_("Where the results go"),
            (
                "export.merged_16bit",
                "export.gguf",
                "export.push_to",
                "export.push_private",
                "export.copy_to",
                "export.after_command",
                "training.output_dir",
            ),
        ),
    )
    DEFAULT_CSS = """
    ReviewScreen #summary { height: auto; margin-bottom: 1; }
    ReviewScreen #wrong-title { height: auto; color: $text-error; text-style: bold; display: none; }
    ReviewScreen #wrong.-textual-compact { display: none; margin-bottom: 1; max-height: 8; }
    ReviewScreen #wrong-title.-shown, ReviewScreen #wrong.-textual-compact.-shown { display: block; }
    ReviewScreen #buttons { height: auto; margin: 0 0 1 0; }
    ReviewScreen #buttons Button { margin-right: 2; }
    ReviewScreen #differences { height: auto; margin: 1 0 0 2; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", N_("Start"), id="run.start", tooltip=N_("Start training now")),
        Binding("ctrl+s", "save_preset", N_("Save"), id="review.save", tooltip=N_("Keep these settings")),
        Binding("f7", "proof", N_("Proof"), id="review.proof", tooltip=N_("Which tokens are learned")),
        Binding(
            "ctrl+t",
            "try_rewards",
            N_("Rewards"),
            id="review.rewards",
            tooltip=N_("Score answers of the model"),
        ),
        Binding("ctrl+n", "start", N_("Start training"), show=False, id="review.next"),
    ]
    _wrong: tuple[str, ...] = ()
    _starting = False
    _rows = 0
    _others: Sequence[str] = ()
    _stops: tuple[DataProblem, ...] = ()

    def form(self) -> Iterable[Widget]:
        yield LiteralText(id="summary")
        yield LiteralText(id="wrong-title")
        yield ListBox(id="wrong")
        with Horizontal(id="buttons"):
            yield Button(_("Start training"), id="start", variant="success", compact=True)
            yield Button(_("Save as preset"), id="save", compact=True)
        yield from super().form()
        yield LiteralText(id="differences")

    def first_focus(self) -> Widget | None:
        return self.query_one("#start")

    def begin(self) -> None:
        if not self.wanted_field and (self.loris.draft.errors() or self._stops):
            self.call_after_refresh(self.query_one("#wrong").focus)  # it is displayed only now
        self.check_disk()

    def edited(self, path: str) -> None:
        if path in PATH_FIELDS:
            self.check_disk_soon()

    def check_disk(self) -> None:
        self._run_preflight()

    @work(thread=True, exclusive=True, group="check")
    def _run_preflight(self) -> None:
        others = [run for run in list_runs() if run.alive and not run.draft and run.state != "serving"]
        spec = self.loris.draft.valid_parts()
        found = {error.field: error.message for error in check_inputs(spec)}
        seen = peek_local(spec.dataset)
        rows = seen.total if seen else 0
        self.app.call_from_thread(self._preflight_done, found, rows, [run.title for run in others])

    def _preflight_done(self, found: dict[str, Message], rows: int, others: list[str]) -> None:
        if self.is_mounted:
            self._rows, self._others = rows, others
            self.show_preflight_errors(found, among=tuple(self.loris.draft.reported_errors))

    def checked(self, errors: dict[str, Message]) -> None:
        draft = self.loris.draft
        spec, _errors = draft.build()
        shown = spec or draft.valid_parts()
        self._stops = self.loris.proofs.stops_for(shown)
        lines = [*describe_run(shown, self._rows), self._describe_proof(shown)]
        if self._others:
            running = ", ".join(self._others)
            lines.append(_("! Also running: {runs}. Two at once may not fit the card.").format(runs=running))
        self.query_one("#summary", LiteralText).set_text(visible("\n".join(lines)))
        self.query_one("#differences", LiteralText).set_text(
            visible("\n".join(describe_differences(draft.changes())))
        )
        self._show_wrong(errors)

    def _describe_proof(self, spec: RunSpec) -> str:
        """The summary's line on the data proof."""
        report = self.loris.proofs.report_for(spec)
        if report is None:
            return _("Data: not proven yet. F7 shows which tokens will be learned.")
        if self._stops:
            return _("✗ Data: {count} that stop training.").format(count=len(self._stops))
        share = report.learned_tokens / report.tokens if report.tokens else 0.0
        return _("Data: proven; {share:.0%} of the tokens are learned.").format(share=share)

    def _show_wrong(self, errors: dict[str, Message]) -> None:
        """List the fields to correct, then the proof's stops for these settings."""
        self._wrong = tuple(errors)
        count = len(errors) + len(self._stops)
        title = self.query_one("#wrong-title", LiteralText)
        words = _("{count} to correct before the start; Enter leads to the field:").format(count=count)
        title.set_text(Content.assemble(("✗", "not bold"), " ", words))
        title.set_class(bool(count), "-shown")
        box = self.query_one("#wrong", ListBox)
        box.set_class(bool(count), "-shown")
        box.clear_options()
        box.add_options([_error_line(path, render(message)) for path, message in errors.items()])
        box.add_options([_stop_line(stop) for stop in self._stops])
        if count:
            box.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_index >= len(self._wrong):
            self.action_proof()
            return
        path = self._wrong[event.option_index]
        step = step_of(path)
        if step == self.STEP:
            self.focus_field(path)
        else:
            self.loris.go(step, field=path)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "start":
            self.action_start()
        else:
            self.action_save_preset()

    # Start

    def action_start(self) -> None:
        self.flush_edits()
        spec, errors = self.loris.draft.build()
        if spec is None or errors or self.loris.proofs.stops_for(spec):
            self._refuse()
        elif not self._starting:
            self._starting = True
            self._check_and_start(spec)

    @work(thread=True, exclusive=True, group="check")
    def _check_and_start(self, spec: RunSpec) -> None:
        found = {error.field: error.message for error in check_inputs(spec)}
        self.app.call_from_thread(self._start, spec, found)

    def _start(self, spec: RunSpec, found: dict[str, Message]) -> None:
        self._starting = False
        self.show_preflight_errors(found, among=tuple(self.loris.draft.reported_errors))
        if found:
            self._refuse()
        else:
            self._ask_and_start(spec)

    @work(exclusive=True, group="ask")
    async def _ask_and_start(self, spec: RunSpec) -> None:
        if not await ask_about_rewards(self.app, spec):
            return
        if command := spec.export.after_command.strip():
            asked = command_question(command, _("Allow it and start"), _("Do not start"))
            if not await self.app.push_screen_wait(asked):
                return
        self.loris.start_training(spec)

    # The trial of the rewards

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "try_rewards" or self.loris.draft[METHOD] == "grpo"

    def action_try_rewards(self) -> None:
        self.flush_edits()
        spec, errors = self.loris.draft.build()
        if spec is None or errors:
            self._refuse()
        else:
            self._ask_and_try(spec)

    @work(exclusive=True, group="ask")
    async def _ask_and_try(self, spec: RunSpec) -> None:
        if await ask_about_rewards(self.app, spec):
            self.loris.try_rewards(spec)

    def _refuse(self) -> None:
        self.query_one("#wrong").focus()
        self.notify(_("Not started: there is something to correct."), severity="error")

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        yield _("run: start"), _("Start training now"), self.action_start
        if self.check_action("try_rewards", ()):
            yield _("rewards: try"), _("Score answers of the model"), self.action_try_rewards


def _error_line(path: str, words: str) -> Content:
    step = STEPS[step_of(path)]
    return Content.assemble((f"{_(step)} · {_(_title(path))}", "bold"), "  ", (visible(words), "$text-error"))


def _stop_line(stop: DataProblem) -> Content:
    return Content.assemble((_("Proof of the data"), "bold"), "  ", (visible(render(stop.message)), "$text-error"))


def _title(path: str) -> str:
    try:
        return field_info(path).title
    except KeyError:
        return path  # an engine of another version may name a field that is unknown here
