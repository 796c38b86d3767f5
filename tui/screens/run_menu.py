"""The menu of a run in the list: open, resume, rename, note, duplicate, compare, prune, delete."""

import asyncio
from collections.abc import Callable

import msgspec

from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.runs.disk_usage import prunable, prune, size_of
from engine.runs.labels import read_label, write_label
from engine.runs.manifest import epochs_at
from engine.runs.run_list import RunSummary, delete_run
from tui.dialogs.ask import ConfirmModal, LineDialog, MenuDialog, MenuItem
from tui.dialogs.resume import ResumeDialog
from tui.screens.base import LorisScreen
from tui.state.draft import Draft
from tui.text.amounts import size
from tui.text.run_states import describe_resume
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

ACTIONS = (
    ("open", "o", N_("Open"), N_("its curve, log and answers")),
    ("resume", "r", N_("Resume"), N_("resume from the last complete checkpoint")),
    ("resume_with", "w", N_("Resume with …"), N_("see first what can be changed, and what cannot")),
    ("rename", "n", N_("Rename"), N_("what the list calls it")),
    ("note", "t", N_("Note"), N_("a line of your own")),
    ("duplicate", "d", N_("Duplicate"), N_("the same settings in the wizard, to change some")),
    ("prune", "p", N_("Prune checkpoints"), N_("all but the newest and the best")),
    ("delete", "x", N_("Delete"), N_("what Loris made of it, after asking")),
)


class RunMenu:
    """Opens dialogs over `screen`; calls `changed` after an action has changed a run."""

    def __init__(self, screen: LorisScreen, changed: Callable[[], object]) -> None:
        self._screen, self._changed = screen, changed

    async def offer(self, run: RunSummary) -> None:
        """Show the menu of this run, and carry out the choice."""
        items = [
            MenuItem(name, key, _(title), _(about))
            for name, key, title, about in ACTIONS
            if self._offered(name, run)
        ]
        chosen = await self._screen.app.push_screen_wait(MenuDialog(visible(run.title), items))
        if chosen:
            await self._do(chosen, run)

    def _offered(self, name: str, run: RunSummary) -> bool:
        if run.state == "unreadable":
            return name == "delete"
        match name:
            case "resume" | "resume_with":
                return run.resumable
            case "prune" | "delete":
                return not run.alive
        return True

    async def _do(self, name: str, run: RunSummary) -> None:
        actions: dict[str, Callable[[RunSummary], object]] = {
            "open": self.open,
            "resume": self.resume,
            "duplicate": self._duplicate,
        }
        asking = {
            "resume_with": self.resume_with,
            "rename": self._rename,
            "note": self._note,
            "prune": self._prune,
            "delete": self._delete,
        }
        try:
            if name in asking:
                await asking[name](run)
                self._changed()
            else:
                actions[name](run)
        except UserError as error:
            self._screen.notify(visible(render(error.message)), severity="error", markup=False)
        except OSError as error:
            self._screen.notify(visible(error.strerror or str(error)), severity="error", markup=False)

    def _spec_of(self, run: RunSummary) -> RunSpec | None:
        """The run's spec; None, with a notification, when it cannot be read."""
        if run.state == "unreadable":
            why = _("This run cannot be read: {reason}").format(reason=visible(run.note))
            self._screen.notify(why, severity="error", markup=False)
            return None
        try:
            return load_spec(run.folder.spec)
        except SpecError as error:
            self._screen.notify(visible(render(error.errors[0].message)), severity="error", markup=False)
            return None

    def open(self, run: RunSummary) -> None:
        """Show the run's screen."""
        if spec := self._spec_of(run):
            self._screen.loris.open_run(run.folder, spec)

    def resume(self, run: RunSummary, changes: tuple[Change, ...] = ()) -> None:
        """Resume a run and show it."""
        if spec := self._spec_of(run):
            self._screen.notify(describe_resume(run.checkpoint))
            self._screen.loris.open_run(run.folder, spec, changes)

    async def resume_with(self, run: RunSummary) -> None:
        """Show what can be changed, then resume."""
        if spec := self._spec_of(run):
            step = run.checkpoint or 0
            epochs = epochs_at(run.folder.checkpoints, step)
            ask = ResumeDialog(visible(run.title), spec, step, run.steps, run.total_steps, epochs)
            changes = await self._screen.app.push_screen_wait(ask)
            if changes is not None:
                self.resume(run, changes)

    def _duplicate(self, run: RunSummary) -> None:
        if spec := self._spec_of(run):
            self._screen.loris.draft = Draft(spec)
            self._screen.loris.go("review")

    async def _rename(self, run: RunSummary) -> None:
        ask = LineDialog(_("What should this run be called?"), run.title, _("Its folder keeps its name."))
        title = await self._screen.app.push_screen_wait(ask)
        if title is not None:
            label = msgspec.structs.replace(read_label(run.folder), title=title.strip())
            write_label(run.folder, label)

    async def _note(self, run: RunSummary) -> None:
        note = await self._screen.app.push_screen_wait(LineDialog(_("A note on this run"), run.note))
        if note is not None:
            write_label(run.folder, msgspec.structs.replace(read_label(run.folder), note=note.strip()))

    async def _prune(self, run: RunSummary) -> None:
        old, count = await asyncio.to_thread(prunable, run.folder)
        if not old:
            self._screen.notify(_("There are no older checkpoints: the newest and the best are kept."))
            return
        words = _("{count} older checkpoints are deleted. The newest and the best stay. This frees {size}.")
        sure = await self._confirm(
            _("Prune the checkpoints?"), words.format(count=len(old), size=size(count)), _("Prune")
        )
        if sure:
            freed = await asyncio.to_thread(prune, run.folder)
            self._screen.notify(_("{size} freed.").format(size=size(freed)))

    async def _delete(self, run: RunSummary) -> None:
        count = await asyncio.to_thread(size_of, run.folder.path)
        words = _("{size} in {folder}: its adapter, checkpoints, exports, curve and log. This cannot be undone.")
        words = words.format(size=size(count), folder=visible(str(run.folder.path)))
        title = _("Delete {run}?").format(run=visible(run.title))
        if await self._confirm(title, words, _("Delete {size}").format(size=size(count))):
            left = await asyncio.to_thread(delete_run, run.folder)
            words = _("Deleted. Not made by Loris, and therefore kept: {paths}") if left else _("Deleted.")
            self._screen.notify(visible(words.format(paths=", ".join(map(str, left)))), markup=False)

    async def _confirm(self, title: str, words: str, yes: str) -> bool:
        sure = await self._screen.app.push_screen_wait(ConfirmModal(title, words, yes=yes, no=_("Keep it")))
        return sure is True
