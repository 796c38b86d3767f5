"""What all screens share: the app as they know it, its messages to them, keys that follow the language."""

from __future__ import annotations

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
from tui.widgets.workers import Working


class Loris(Protocol):
    """The part of the app that screens use. A protocol, since the app stands above its screens."""

    draft: Draft
    session: RunSession
    proofs: ProofSession
    compared: tuple[RunFolder, ...]

    def go(self, name: str, field: str = "") -> None: ...
    def go_to_field(self, path: str) -> None: ...
    def use_language(self, code: str) -> None: ...
    def warm_up(self) -> None: ...
    def try_model(self) -> None: ...
    def drop_warm(self) -> None: ...
    def open_run(self, folder: RunFolder, spec: RunSpec, resume: tuple[Change, ...] | None = None) -> None: ...
    def prove(self) -> None: ...
    def cancel_proof(self) -> None: ...
    def start_training(self, spec: RunSpec) -> None: ...


class RunChanged(Message):
    """Posted to the screen in front when the attached run's events or log grew."""


class ProofChanged(Message):
    """Posted to the screen in front when the proof of the data has news."""


# (what the command palette shows, a sentence on it, what it does)
PaletteEntry = tuple[str, str, Callable[[], object]]


class LorisScreen(Working, Screen[None]):
    """A screen of Loris. Write `N_("...")` in its bindings: they are translated here, each time they are shown."""

    came_from = "home"  # the screen that was left for this one
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
        """What the command palette offers on this screen besides what it offers everywhere."""
        return ()
