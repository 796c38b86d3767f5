"""What all screens share: the app's interface, its messages, keys named in the user's language."""

from collections.abc import Callable, Iterable
from typing import Protocol, cast

from textual.binding import ActiveBinding
from textual.message import Message
from textual.screen import Screen

from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.runs.folder import RunFolder
from tui.state.draft import Draft
from tui.state.proof_session import ProofSession
from tui.state.run_session import RunSession
from tui.text.key_names import translated
from tui.widgets.workers import GuardedWorkers


class Loris(Protocol):
    """The part of the app that screens use. A protocol, because the app imports its screens."""

    draft: Draft
    session: RunSession
    proofs: ProofSession
    compared: tuple[RunFolder, ...]

    def go(self, name: str, field: str = "") -> None: ...
    def go_to_field(self, path: str) -> None: ...
    def open_draft(self, draft: Draft, step: str) -> None: ...
    def use_language(self, code: str) -> None: ...
    def warm_up(self) -> None: ...
    def try_model(self) -> None: ...
    def try_rewards(self, spec: RunSpec) -> None: ...
    def drop_warm(self) -> None: ...
    def open_run(self, folder: RunFolder, spec: RunSpec, resume: tuple[Change, ...] | None = None) -> None: ...
    def prove(self) -> None: ...
    def cancel_proof(self) -> None: ...
    def start_training(self, spec: RunSpec) -> None: ...


class RunChanged(Message):
    """Posted to the screen in front when the attached run has new events or log lines."""


class ProofChanged(Message):
    """Posted to the screen in front when the data proof has progress or a result."""


# (title in the command palette, help text, action)
PaletteEntry = tuple[str, str, Callable[[], object]]


class LorisScreen(GuardedWorkers, Screen[None]):
    """A screen of Loris. Write `N_("...")` in its bindings; they are translated each time they are shown."""

    came_from = "home"  # the previous screen
    wanted_field = ""  # dotted path of the field to focus first, where the screen has fields

    @property
    def loris(self) -> Loris:
        return cast(Loris, self.app)

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        return translated(super().active_bindings)

    def leave(self, to: str) -> None:
        """Called before the screen named `to` takes this one's place."""

    def commands(self) -> Iterable[PaletteEntry]:
        """The command palette's entries for this screen alone."""
        return ()
