"""The Model step: which base model to train, and a first chat with it."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.cells import set_cell_size
from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from engine.config.methods import FULL_FINETUNING
from engine.config.run_spec import ModelSpec
from engine.messages.message import Message
from engine.preflight.model import check_model
from tui.dialogs.ask import FilePicker
from tui.screens.base import PaletteEntry
from tui.screens.wizard import STEPS, WizardScreen
from tui.state.model_catalogue import CatalogueModel, catalogue
from tui.text.translation import N_, _
from tui.widgets.list_box import ListBox

NAME = "model.model_name"
NAME_CELLS = 28


class ModelScreen(WizardScreen):
    """Leaving for the next step starts the engine, so that it is ready when the forms are filled in."""

    STEP = "model"
    INTRO = N_("Which model to start from? The next step chooses how it learns.")
    FIELDS = (NAME, "model.max_seq_length", "model.load_in_4bit")
    FOLDS = (
        (
            N_("More model settings"),
            (
                FULL_FINETUNING,
                "model.load_in_8bit",
                "model.dtype",
                "model.revision",
                "model.new_tokens",
                "model.use_cpu",
            ),
        ),
    )
    DEFAULT_CSS = """
    ModelScreen #suggested { color: $text-muted; height: 1; margin-left: 2; }
    ModelScreen #models.-textual-compact { margin: 0 0 1 2; height: 7; background: $surface; }
    ModelScreen.-wide #models.-textual-compact { height: 12; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "browse", N_("Folder"), id="model.browse", tooltip=N_("A model on this machine")),
        Binding("ctrl+t", "try_model", N_("Try it"), id="model.try", tooltip=N_("Chat with the model as it is")),
    ]
    _models: tuple[CatalogueModel, ...] = ()

    def form(self) -> Iterable[Widget]:
        name, *others = super().form()
        yield name
        yield Static(
            _("Suggestions, with the GPU memory that SFT with LoRA takes. Enter takes one."),
            markup=False,
            id="suggested",
        )
        yield ListBox(id="models")
        yield from others

    def begin(self) -> None:
        self._read_catalogue()
        self.check_disk()

    @work(thread=True)
    def _read_catalogue(self) -> None:
        models = catalogue()
        self.app.call_from_thread(self._show_models, models)

    def _show_models(self, models: tuple[CatalogueModel, ...]) -> None:
        self._models = models
        if not self.is_mounted:
            return
        quantised = self.loris.draft["model.load_in_4bit"] is True
        box = self.query_one("#models", ListBox)
        at = box.highlighted
        box.clear_options()
        box.add_options([_row(model, quantised) for model in models])
        chosen = self.loris.draft[NAME]
        named = [n for n, m in enumerate(models) if chosen in (m.bnb_4bit, m.plain)]
        box.highlighted = named[0] if named else at

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        quantised = self.loris.draft["model.load_in_4bit"] is True
        self.field_at(NAME).put(self._models[event.option_index].hub_id(quantised))
        self.notify(_("Selected. Ctrl+N goes to the method."), timeout=3)

    def edited(self, path: str) -> None:
        if path in ("model.load_in_4bit", FULL_FINETUNING) and self._models:
            self._show_models(self._models)
        self.check_disk_soon()

    def check_disk(self) -> None:
        if (model := self.loris.draft.model()) is not None:
            self._check_folder(model)

    @work(thread=True, exclusive=True, group="folder")
    def _check_folder(self, model: ModelSpec) -> None:
        found = {error.field: error.message for error in check_model(model)}
        self.app.call_from_thread(self._checked_folder, model, found)

    def _checked_folder(self, model: ModelSpec, found: dict[str, Message]) -> None:
        if self.is_mounted and self.loris.draft.model() == model:
            self.show_preflight_errors(found, among=(NAME, "model.use_cpu"))

    def action_browse(self) -> None:
        def apply(folder: str | None) -> None:
            if folder:
                self.field_at(NAME).put(folder)

        start = Path(str(self.loris.draft[NAME])).expanduser()
        self.app.push_screen(
            FilePicker(_("Choose the folder of a model"), start if start.is_absolute() else Path.cwd()), apply
        )

    def action_try_model(self) -> None:
        self.flush_edits()
        if any(path.startswith("model.") for path in self.loris.draft.errors()):
            self.notify(_("Correct the fields marked ✗ first."), severity="error")
            return
        self.loris.try_model()

    def leave(self, to: str) -> None:
        super().leave(to)
        if to in STEPS:
            if any(path.startswith("model.") for path in self.loris.draft.errors()):
                self.loris.drop_warm()
            else:
                self.loris.warm_up()

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        yield _("model: choose a folder"), _("A model on this machine"), self.action_browse
        yield _("model: try it"), _("Chat with the model as it is"), self.action_try_model


def _row(model: CatalogueModel, quantised: bool) -> Content:
    """One line of the list: the model, its size, and what it needs."""
    size = f"{model.parameters:.3g}B".rjust(6)
    memory = _("about {memory} GB").format(memory=model.memory(quantised))
    return Content.assemble(set_cell_size(model.title, NAME_CELLS), (size, ""), "   ", (memory, "dim"))
