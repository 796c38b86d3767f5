"""The app: keeps the draft and the session with the engine, and shows one screen at a time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import msgspec
from rich.text import Text
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType

from engine.client.backend import Backend, RealBackend
from engine.config.presets import find_preset
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.messages.message import Message
from engine.protocol.commands import Refused
from engine.runs.consent import give_consent
from engine.runs.run_list import delete_drafts, list_runs
from tui.dialogs.allow_command import ask_before_resume
from tui.screens.base import ProofChanged, RunChanged
from tui.state.draft import Draft
from tui.state.engine_watch import EndBell
from tui.state.proof_session import ProofSession, Prover
from tui.state.run_session import RunSession
from tui.state.settings import load_settings, save_settings
from tui.text.errors import describe_error, startup_error
from tui.text.sanitize import VisibleFilter, visible
from tui.text.translation import LANGUAGES, N_, _, language, language_of_locale, render, set_language
from tui.widgets.key_queue import PALETTE, KeyQueue

if TYPE_CHECKING:
    from textual.filter import LineFilter
    from textual.screen import Screen

    from engine.config.change import Change
    from engine.config.run_spec import RunSpec
    from engine.runs.folder import RunFolder
    from tui.screens.base import LorisScreen

# Each screen: its class, and the title of its command palette entry, if it can be opened at any time.
# Screens are imported when first shown, to keep the first paint quick.
SCREENS = {
    "home": ("tui.screens.home:HomeScreen", N_("go to: Home")),
    "model": ("tui.screens.model:ModelScreen", N_("go to: Model")),
    "method": ("tui.screens.method:MethodScreen", N_("go to: Method")),
    "dataset": ("tui.screens.dataset:DatasetScreen", N_("go to: Dataset")),
    "lora": ("tui.screens.lora:LoraScreen", N_("go to: LoRA")),
    "training": ("tui.screens.training:TrainingScreen", N_("go to: Train")),
    "review": ("tui.screens.review:ReviewScreen", N_("go to: Review")),
    "proof": ("tui.screens.proof:ProofScreen", N_("go to: Proof of the dataset")),
    "live": ("tui.screens.live:LiveScreen", ""),
    "chat": ("tui.screens.chat:ChatScreen", ""),
    "score": ("tui.screens.score:ScoreScreen", ""),
    "save": ("tui.screens.export:ExportScreen", ""),
    "samples": ("tui.screens.prompt_table:PromptTableScreen", ""),
    "compare": ("tui.screens.compare:CompareScreen", ""),
    "push": ("tui.screens.push:PushScreen", ""),
}
POLL_SECONDS = 0.25
TIDY_SECONDS = 5.0  # after the start, when drawing is done
LEAVE_SECONDS = 10.0


class LorisApp(App[None]):
    """`preset`: the name to start the draft from. `language`: a code of `tui.text.translation.LANGUAGES`."""

    TITLE = "Loris"
    CSS_PATH = "theme/app.tcss"
    COMMAND_PALETTE_DISPLAY = "^p"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (Textual declares it so)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", N_("Quit"), id="app.quit", priority=True, tooltip=N_("Leave Loris")),
    ]

    def __init__(
        self,
        preset: str | None = None,
        language: str | None = None,
        start: Literal["home", "review"] = "home",
        backend: Backend | None = None,
        run: RunFolder | None = None,
        prover: Prover | None = None,
    ) -> None:
        super().__init__()
        # Every frame may go over SSH: no animation unless the user's environment asks for it.
        if "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"
        set_language(language or load_settings().language or language_of_locale())
        found = find_preset(preset) if preset else None
        self.draft = Draft(found.spec if found else None)
        self.session = RunSession(backend or RealBackend())
        self.proofs = ProofSession(prover)
        self._start = start
        self._screen_name: str = start
        self._wanted_run = run  # to attach to on start
        self._leaving = False
        self._keys = KeyQueue(self, super().on_event)
        self._end_bell = EndBell()
        self._exit_message = ""  # printed on the terminal after the app
        self._asking_to_leave = False  # the dialog about the run in progress is open
        self.compared: tuple[RunFolder, ...] = ()  # the runs whose curves are compared

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own, and `VisibleFilter`, which shows control characters instead of sending them."""
        return [*super().get_line_filters(), VisibleFilter()]

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._keys.put(event)
        else:
            await super().on_event(event)

    def on_unmount(self) -> None:
        self._keys.close()

    def on_mount(self) -> None:
        # A terminal that hangs up must end the app cleanly, not leave it spinning; the run continues.
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGHUP, lambda *_: self._on_hangup(loop))
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        self.set_interval(POLL_SECONDS, self._poll)
        self.set_timer(TIDY_SECONDS, lambda: self.run_worker(delete_drafts, thread=True, exit_on_error=False))
        self.go(self._start)
        if self._wanted_run:
            self._show_run(self._wanted_run)

    def _show_run(self, folder: RunFolder) -> None:
        """Show the run given on the command line."""
        try:
            self.open_run(folder, load_spec(folder.spec))
        except SpecError as error:
            self.notify(visible(render(error.errors[0].message)), severity="error", markup=False)

    def _poll(self) -> None:
        if not self.screen_stack:
            return  # the app is ending
        if self.session.poll() or self.session.has_unshown:
            self.session.has_unshown = False
            self.screen.post_message(RunChanged())
        if self._end_bell.should_ring(self.session) and load_settings().bell:
            self.bell()
        if self.session.has_more:
            self.call_later(self._poll)

    def go(self, name: str, field: str = "") -> None:
        """Show a screen by its name in `SCREENS`, with `field` in focus. It reads the draft and the session."""
        if name == "chat" and self.session.scores:
            name = "score"
        module, _colon, kind = SCREENS[name][0].partition(":")
        screen: LorisScreen = getattr(import_module(module), kind)()
        screen.wanted_field = field
        if self._screen_name != name:
            screen.came_from = self._screen_name
        elif len(self.screen_stack) > 1:  # the same screen again, in another language
            screen.came_from = getattr(self.screen_stack[1], "came_from", "home")
        while len(self.screen_stack) > 2:  # dialogs are above the one screen
            self.pop_screen()
        if len(self.screen_stack) > 1:
            cast("LorisScreen", self.screen).leave(name)
            self.workers.cancel_node(self.screen)  # now, because its widgets are removed before it
            self.switch_screen(screen)
        else:
            self.push_screen(screen)
        self._screen_name = name

    def go_to_field(self, path: str) -> None:
        """Show the wizard step with this field, with the field in focus."""
        from tui.screens.wizard import step_of

        self.go(step_of(path), path)

    def open_draft(self, draft: Draft, step: str) -> None:
        """Start from another draft, on this step of the wizard."""
        self.draft = draft
        if self.session.warm and self.session.warm_model != draft.model():
            self.drop_warm()
        self.go(step)

    def use_language(self, code: str) -> None:
        """Change and save the language, and show the current screen again."""
        set_language(code)
        save_settings(msgspec.structs.replace(load_settings(), language=language()))
        self.go(self._screen_name)

    def toggle_bell(self) -> None:
        """Turn ringing at the end of training on or off, and save that."""
        settings = load_settings()
        save_settings(msgspec.structs.replace(settings, bell=not settings.bell))
        self.notify(_("The terminal no longer rings.") if settings.bell else _("It rings when training ends."))

    # The engine. These return at once; the workers that they start run one at a time, in order.

    def warm_up(self) -> None:
        """Start loading the draft's model, so that it is ready when the forms are filled in."""
        if self.draft.model() is None:
            self.drop_warm()
        else:
            self.run_worker(self._warm_up(), group="engine")

    def try_model(self) -> None:
        """Chat with the draft's base model."""
        self.run_worker(self._try_model(), group="engine")

    async def _try_model(self) -> None:
        if await self._warm_up():
            self.go("chat")

    def try_rewards(self, spec: RunSpec) -> None:
        """Let the spec's model answer a few prompts, and show how the spec's rewards score the answers."""
        self.run_worker(self._try_rewards(spec), group="engine")

    async def _try_rewards(self, spec: RunSpec) -> None:
        if await self._warm_up():
            from tui.dialogs.rewards_trial import RewardsTrialDialog

            self.push_screen(RewardsTrialDialog(self.session, spec))

    async def _warm_up(self) -> bool:
        """Whether an engine for the draft's model is running. Shows why if not; stays on this screen."""
        if await self._free_gpu():
            # Two models at once may not fit: this one is loaded when training starts.
            self.notify(_("Another run is using this machine: the model is loaded when training starts."))
            return False
        try:
            await self.session.warm_up(self.draft.valid_parts())
        except SpecError as error:
            self.draft.reported_errors.update({one.field: one.message for one in error.errors})
            self.notify(render(error.errors[0].message), severity="error", markup=False)
        except (UserError, OSError) as error:
            self.notify(render(startup_error(error)), severity="error", markup=False)
        self.screen.post_message(RunChanged())
        return self.session.warm

    async def _free_gpu(self) -> bool:
        """End engines that are idle after training; returns whether others are busy."""
        runs = [run for run in await asyncio.to_thread(list_runs) if run.alive and not run.draft]
        idle = [run for run in runs if run.state == "serving"]
        for run in idle:
            await self.session.shut_down(run.folder)
            told = _("The engine of {run} was stopped to free the card. Open that run to start it again.")
            self.notify(told.format(run=visible(run.title)), markup=False)
        return len(idle) < len(runs)

    def drop_warm(self) -> None:
        """End the engine that was warmed up, if there is one."""
        self.run_worker(self.session.drop_warm(), group="engine")

    def prove(self) -> None:
        """Prove the draft's data, in place of a running proof."""
        self.run_worker(self._prove(), group="proof", exclusive=True)

    async def _prove(self) -> None:
        await self.proofs.run(self.draft.valid_parts(), self._notify_proof)

    def _notify_proof(self) -> None:
        if self.screen_stack:  # else the app is ending
            self.screen.post_message(ProofChanged())

    def cancel_proof(self) -> None:
        """Cancel the running proof; the worker stays for the next one."""
        self.workers.cancel_group(self, "proof")

    def open_run(self, folder: RunFolder, spec: RunSpec, resume: tuple[Change, ...] | None = None) -> None:
        """Attach to a run, live or over, and show it. `resume`: resume it first, with these changes."""
        self.run_worker(self._open_run(folder, spec, resume), group="engine")

    async def _open_run(self, folder: RunFolder, spec: RunSpec, resume: tuple[Change, ...] | None) -> None:
        await self.session.switch_to(folder, spec)
        await self.session.catch_up()
        if resume is not None:
            try:
                await ask_before_resume(self, folder, spec, resume)
                self.session.resume(resume)
            except (SpecError, OSError) as error:
                self.notify(visible(describe_error(error)), severity="error", markup=False)
        self.go("live")

    def start_training(self, spec: RunSpec) -> None:
        """Train as the spec says and show the run; if the engine refuses, return to the review."""
        self.run_worker(self._train(spec), group="engine")

    async def _train(self, spec: RunSpec) -> None:
        try:
            await self._free_gpu()
            replies = await self.session.train(spec)
            if spec.export.after_command and self.session.folder:
                give_consent(
                    self.session.folder, spec.export.after_command.strip()
                )  # the review has asked the user
            self.go("live")
            async for reply in replies:
                if isinstance(reply, Refused):
                    if reply.field:
                        self.draft.reported_errors[reply.field] = reply.message
                    self._refused(reply.message)
        except SpecError as error:
            self.draft.reported_errors.update({one.field: one.message for one in error.errors})
            self._refused(error.errors[0].message)
        except (UserError, OSError) as error:
            self._refused(startup_error(error))

    def _refused(self, why: Message) -> None:
        """Return to the review, which lists what is wrong."""
        self.go("review")
        self.notify(render(why), severity="error", markup=False)

    # Leaving. An engine that was only warmed up must release the GPU.

    async def action_quit(self) -> None:
        if self._leaving:
            self.exit()  # asked twice: leave now
            return
        from tui.screens.leaving import must_confirm_leave

        if must_confirm_leave(self.session) and not self._asking_to_leave:  # a second time: leave it as it is
            self._asking_to_leave = True
            self.run_worker(self._ask_and_leave(), group="ask-to-leave")
            return
        self._leave_now()

    async def _ask_and_leave(self) -> None:
        from tui.screens.leaving import confirm_leave

        if (exit_message := await confirm_leave(self, self.session)) is not None:
            self._exit_message = exit_message
            self._leave_now()
        self._asking_to_leave = False

    def _leave_now(self) -> None:
        self._leaving = True
        if self.session.warm:
            self.notify(_("Stopping the engine that was loading the model …"))
        self.run_worker(self._leave(), group="leave")

    def _on_hangup(self, loop: asyncio.AbstractEventLoop) -> None:
        """The terminal is gone. A write to it would fail, and end a thread without which the app hangs.

        Called at once, not by the loop: SIGCONT follows directly, on which Textual would redraw.
        """
        signal.signal(signal.SIGCONT, lambda *_: None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        loop.call_soon_threadsafe(self._on_terminate)

    def _on_terminate(self) -> None:
        self._leaving = True
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(round(LEAVE_SECONDS) + 2)  # a last resort: the kernel ends the process
        self.run_worker(self._leave(), group="leave")

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.session.drop_warm()
        except (TimeoutError, UserError, OSError):
            pass
        finally:
            self.proofs.close()
            self.exit(message=Text(self._exit_message) if self._exit_message else None)

    # The command palette.

    def action_command_palette(self) -> None:
        from textual.command import CommandPalette

        if self.use_command_palette and not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(id=PALETTE, placeholder=_("Type what to do …")))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for name, (_where, title) in SCREENS.items():
            if title:
                yield SystemCommand(_(title), _("Show this screen"), lambda name=name: self.go(name))
        for code, title in LANGUAGES.items():
            yield SystemCommand(
                _("language: {name}").format(name=title),
                _("Show Loris in this language"),
                lambda code=code: self.use_language(code),
            )
        for command in getattr(screen, "commands", tuple)():
            yield SystemCommand(*command)
        yield SystemCommand(
            _("settings: bell"), _("Turn the bell at the end of training on or off"), self.toggle_bell
        )
        yield SystemCommand(_("theme: choose"), _("Change the colours"), self.action_change_theme)
        yield SystemCommand(_("quit"), _("Leave Loris; a run continues"), self.action_quit)
