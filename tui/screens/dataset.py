"""The Dataset step: where the examples are, how each becomes text, and a preview of the first rows."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import msgspec
from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.worker import get_current_worker

from engine.config.local_paths import DATA_SUFFIXES, is_local
from engine.config.methods import METHODS
from engine.config.prompt_templates import PROMPT_TEMPLATES
from engine.config.run_spec import DatasetSpec
from engine.dataset.answers import PairMapping
from engine.dataset.detected import Detected
from engine.dataset.detection import detect
from engine.dataset.peek import Peek, check_dataset
from engine.hub.search import DatasetPage, search_datasets
from engine.messages.message import Message
from tui.dialogs.ask import ChooseDialog, FilePicker
from tui.dialogs.dataset import HubDialog, MappingDialog
from tui.screens.base import PaletteEntry
from tui.screens.wizard import WizardScreen
from tui.state.dataset_cache import hub_page, peek_hub, peek_local
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.field import Field
from tui.widgets.fold import Fold
from tui.widgets.preview import Preview, learned_parts
from tui.widgets.template_choice import TemplateChoice

PATH = "dataset.path"
CONFIG, SPLIT = "dataset.name", "dataset.split"
PROMPT = "dataset.prompt_template"
COLUMNS = ("dataset.instruction_column", "dataset.input_column", "dataset.output_column")
MESSAGES = "dataset.messages_column"
ANSWER_COLUMNS = ("dataset.chosen_column", "dataset.rejected_column", "dataset.label_column")
AUTO_COLUMNS = (MESSAGES, "dataset.system_column", "dataset.text_column", *ANSWER_COLUMNS)
ROLES = (
    *COLUMNS,
    "dataset.system_column",
    "dataset.text_column",
    *ANSWER_COLUMNS,
)  # filled by a column, a template or a constant
HUB_DEBOUNCE_SECONDS = 0.8  # without a keystroke, before the Hub is queried
# Names that Unsloth's get_chat_template supports and that are used in practice.
CHAT_TEMPLATES = (
    "auto", "chatml", "llama-3.1", "llama-3", "mistral", "phi-3", "phi-4", "gemma", "gemma-3", "qwen-2.5", "qwen3",
    "zephyr", "vicuna", "alpaca", "unsloth",
)  # fmt: skip


def found_fillers(found: Detected | None, data: DatasetSpec) -> dict[str, str]:
    """What the detection found for each role set to auto; empty for the others."""
    fillers = dict.fromkeys(ROLES, "")
    if found:
        for path in ROLES:
            key = path.partition(".")[2]
            # Only pairs have a rejected answer, and their output is the chosen one; only votes have a label.
            role = {"chosen": "output"}.get(key.removesuffix("_column"), key.removesuffix("_column"))
            of_pair = isinstance(found.mapping, PairMapping)
            if role == "output" and (key == "chosen_column") != of_pair:
                continue
            filler = str(getattr(found.mapping, role, ""))
            fillers[path] = filler if filler != getattr(data, key) and filler else ""
    return fillers


class DatasetScreen(WizardScreen):
    """Offers the file's columns, and shows its rows as found and as they will be learned."""

    STEP = "dataset"
    INTRO = N_("The examples to learn from: a file on this machine or a Hub dataset.")
    FIELDS = (
        PATH,
        CONFIG,
        SPLIT,
        "dataset.format",
        "dataset.train_on_responses_only",
        "dataset.test_size",
    )
    FOLDS = (
        (N_("Instruction data: columns and prompt template"), (*COLUMNS, "dataset.written_with", PROMPT)),
        (
            N_("Chat data: template and markers"),
            (
                MESSAGES,
                "dataset.system_column",
                "dataset.role_names",
                "dataset.chat_template",
                "dataset.last_answer_only",
                "dataset.instruction_part",
                "dataset.response_part",
            ),
        ),
        (N_("Preferences and votes: columns"), ANSWER_COLUMNS),
        (
            N_("More dataset settings"),
            (
                "dataset.revision",
                "dataset.encoding",
                "dataset.mix",
                "dataset.sample_rows",
                "dataset.sample_seed",
                "dataset.eval_path",
                "dataset.eval_split",
                "dataset.text_column",
                "dataset.missing_parts",
                "dataset.max_cut_share",
                "dataset.drop_bad_rows",
            ),
        ),
    )
    DEFAULT_CSS = """
    DatasetScreen Preview { margin-top: 1; }
    DatasetScreen.-wide Preview { height: 14; }
    DatasetScreen.-wide Preview.-empty { height: auto; }
    DatasetScreen.-narrow FooterKey.-command-palette { display: none; }  /* too many keys for 80 columns */
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "browse", N_("File"), id="dataset.browse", tooltip=N_("A file on this machine")),
        Binding("ctrl+f", "hub", N_("Hub"), id="dataset.hub", tooltip=N_("Search the Hub for a dataset")),
        Binding(
            "ctrl+t",
            "others",
            N_("Format"),
            show=False,  # the preview names the key when there are other mappings
            id="dataset.others",
            tooltip=N_("Other ways to read these rows"),
        ),
        Binding("f7", "proof", N_("Proof"), id="dataset.proof", tooltip=N_("What the data teaches")),
    ]
    search = staticmethod(search_datasets)  # a fake in tests
    _seen: Peek | None = None

    def form(self) -> Iterable[Widget]:
        widgets = list(super().form())
        plain = len(self.FIELDS)
        yield from widgets[:plain]
        yield Preview()
        yield from widgets[plain:]

    def widgets_for(self, path: str) -> Iterable[Widget]:
        if path == PROMPT:
            yield TemplateChoice(str(self.loris.draft[PROMPT]))
        yield self.field(path)

    def begin(self) -> None:
        self.field_at("dataset.chat_template").offer(CHAT_TEMPLATES)
        self.check_disk()

    def on_template_choice_template_chosen(self, event: TemplateChoice.TemplateChosen) -> None:
        self.field_at(PROMPT).put(PROMPT_TEMPLATES[event.name])

    def edited(self, path: str) -> None:
        if path == PROMPT:
            self.query_one(TemplateChoice).show(str(self.loris.draft[PROMPT]))
        self.check_disk_soon()

    # The file

    def check_disk(self) -> None:
        spec = self.loris.draft.valid_parts()
        self._read(spec.dataset, spec.training.method)
        self._search_splits_on_hub(spec.dataset, spec.training.method)

    @work(thread=True, exclusive=True, group="file")
    def _read(self, data: DatasetSpec, method: str) -> None:
        found = {error.field: error.message for error in check_dataset(data, method)}
        self.app.call_from_thread(self._show, data, peek_local(data, method), found)

    @work(thread=True, exclusive=True, group="hub")
    def _search_splits_on_hub(self, data: DatasetSpec, method: str) -> None:
        if is_local(data.path) or check_dataset(data, method):
            return
        time.sleep(HUB_DEBOUNCE_SECONDS)
        if not get_current_worker().is_cancelled and (seen := peek_hub(data, method)):
            self.app.call_from_thread(self._show, data, seen, {}, hub_page(data))

    def _show(
        self, data: DatasetSpec, seen: Peek | None, found: dict[str, Message], page: DatasetPage | None = None
    ) -> None:
        if not self.query(Preview) or self.loris.draft.valid_parts().dataset != data:
            return  # the screen is closing, or the fields have changed since
        if seen and seen.error and is_local(data.path):
            found.setdefault(PATH, seen.error)  # an error of the Hub is only shown: the data may be in the cache
        columns = seen.columns if seen else ()
        for path in COLUMNS:
            self.field_at(path).offer(("", *columns) if columns and path != COLUMNS[2] else columns)
        for path in AUTO_COLUMNS:
            self.field_at(path).offer(("auto", *columns) if columns else ())
        for path, filler in found_fillers(seen.detected if seen else None, data).items():
            self.field_at(path).note(_("found: {column}").format(column=visible(filler)) if filler else "")
        configs = page.configs if page else ()
        config = page.config(data.name) if page else None
        self.field_at(CONFIG).offer([one.name for one in configs] if len(configs) > 1 else ())
        self.field_at(SPLIT).offer([one.name for one in config.splits] if config else ())
        self.query_one(Preview).show(seen, data)
        self._seen = seen
        self.show_preflight_errors(found, among=(PATH, "dataset.split", MESSAGES, *COLUMNS, *ANSWER_COLUMNS))

    def checked(self, errors: dict[str, Message]) -> None:
        self.field_at(CONFIG).display = not is_local(str(self.loris.draft[PATH]))
        kind = self.loris.draft["dataset.format"]
        if kind == "auto" and self._seen:
            kind = self._seen.format
        for number, counts in enumerate((("alpaca",), ("messages",), ("preference", "votes"))):
            fold = self.query_one(f"#fold-{number}", Fold)
            if kind in counts and not any(field.info.path in errors for field in fold.query(Field)):
                fold.set_note(_("(these count for this data)"))
        answers = self.query_one("#fold-2", Fold)
        compared = {"preference", "votes"} & set(METHODS[self.loris.draft.valid_parts().training.method].kinds)
        set_here = any(self.loris.draft.differs(path) or path in errors for path in ANSWER_COLUMNS)
        answers.display = bool(compared) or set_here

    def on_field_asked(self, event: Field.Asked) -> None:
        """Roles open the mapping dialog once the columns are known."""
        path, seen = event.field.info.path, self._seen
        if path not in ROLES or not seen or not seen.rows:
            return  # the wizard's own handler is called next
        event.prevent_default()
        event.stop()
        spec, rows = self.loris.draft.valid_parts(), list(seen.rows)
        data, method = spec.dataset, spec.training.method
        row = rows[min(self.query_one(Preview).at, len(rows) - 1)]
        key = path.partition(".")[2]

        def example(filler: str) -> Content:
            changed = msgspec.structs.replace(data, **{key: filler})
            parts = learned_parts(row, changed, detect(rows, changed, method))
            if not parts:
                return Content(_("No example can be made this way."))
            return Content.assemble((parts[0][0].lstrip("\n"), parts[0][1]), *parts[1:])

        def apply(filler: str | None) -> None:
            if filler is not None:
                event.field.put(filler)

        title = _("What fills it: {role}").format(role=_(event.field.info.title))
        current = str(self.loris.draft.as_typed(path))
        usual = "auto" if path in AUTO_COLUMNS else ""
        self.app.push_screen(MappingDialog(title, seen.columns, row, current, usual, example), apply)

    def action_browse(self) -> None:
        def apply(file: str | None) -> None:
            if file:
                self.field_at(PATH).put(file)

        current = Path(str(self.loris.draft[PATH])).expanduser()
        start = current.parent if current.is_absolute() else Path.cwd()
        picker = FilePicker(_("Choose a data file, or a folder of them"), start, DATA_SUFFIXES, folders=True)
        self.app.push_screen(picker, apply)

    def action_hub(self) -> None:
        def apply(name: str | None) -> None:
            if name:
                self.field_at(PATH).put(name)

        current = str(self.loris.draft[PATH])
        self.app.push_screen(HubDialog("" if is_local(current) else current, self.search), apply)

    def action_others(self) -> None:
        """Offer the other mappings that fit the same rows."""
        found = self._seen.detected if self._seen else None
        if not found or not found.alternatives:
            self.notify(_("There is no other way to read these rows: set the format and the columns by hand."))
            return
        labels = {render(one.label): one for one in found.alternatives}

        def apply(label: str | None) -> None:
            if label:
                for key, value in labels[label].settings.items():
                    self.field_at(f"dataset.{key}").put(value)

        self.app.push_screen(ChooseDialog(_("Read these rows another way"), list(labels), ""), apply)

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        yield _("dataset: choose a file"), _("A file on this machine"), self.action_browse
        yield _("dataset: search the Hub"), _("Find a dataset by its name"), self.action_hub
        yield _("dataset: proof"), _("What the data teaches, token by token"), self.action_proof
