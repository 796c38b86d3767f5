"""One kind of export: its use and size. The kind that was focused last is the chosen one."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from engine.protocol.events import ExportKind
from tui.text.export import format_name
from tui.text.sanitize import visible
from tui.text.translation import N_, _

USES: dict[ExportKind, str] = {
    "adapter": N_(
        "Only what was learned: a small file. For transformers with peft, for vLLM beside its base model, and to "
        "chat or train on later. It was saved in the run's folder when training ended; this copies it elsewhere."
    ),
    "model": N_("All weights, as they were trained. It was saved in the run's folder when training ended."),
    "merged_16bit": N_(
        "Adapter and base model in one, in 16 bits. For vLLM, plain transformers, and to convert for other "
        "programs. Large: as big as the whole model."
    ),
    "merged_4bit": N_(
        "Adapter and base model in one, in 4 bits by bitsandbytes. For transformers on a small GPU. Less exact "
        "than 16 bits; not for vLLM's fastest path, and not to convert again. Needs a GPU."
    ),
    "gguf": N_(
        "One file per quantisation, for llama.cpp, Ollama and LM Studio. q4_k_m is small and good; q8_0 is nearly "
        "exact; f16 is exact and large."
    ),
}


class ExportChoice(Widget, can_focus=True):
    """`chosen` marks it; `size_words` is shown next to the title."""

    DEFAULT_CSS = """
    ExportChoice { height: auto; width: 1fr; padding: 0 1; border-left: outer $foreground 20%; }
    ExportChoice.-chosen { border-left: outer $primary; }
    ExportChoice:focus { background: $primary 20%; }
    """

    class ExportChosen(Message):
        def __init__(self, kind: ExportKind) -> None:
            super().__init__()
            self.kind = kind

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.to_field(1, True)", show=False),
        Binding("up", "screen.to_field(-1, True)", show=False),
        Binding("enter", "screen.to_field(1)", show=False),
    ]
    chosen: reactive[bool] = reactive(False)
    size_words: reactive[str] = reactive("")

    def __init__(self, kind: ExportKind) -> None:
        super().__init__(id=f"choice-{kind}")
        self.kind = kind

    def watch_chosen(self, chosen: bool) -> None:
        self.refresh(layout=True)
        self.set_class(chosen, "-chosen")

    def render(self) -> Content:
        mark = "(x) " if self.chosen else "( ) "
        title = Content.assemble(
            (mark + format_name(self.kind), "bold"), (f"  {visible(self.size_words)}", "$foreground-muted")
        )
        # Only the chosen one shows its use: all four would fill a small terminal.
        return Content.assemble(title, "\n" + _(USES[self.kind])) if self.chosen else title

    def on_focus(self) -> None:
        self.post_message(self.ExportChosen(self.kind))

    def on_click(self, event: events.Click) -> None:
        self.focus()


def field_after(chain: Sequence[Widget], focused: Widget | None, by: int, within: bool = False) -> Widget | None:
    """The field `by` steps from the focused one. All kinds are one field, entered at the chosen one;
    `within`: step through the kinds too."""
    among = within and isinstance(focused, ExportChoice)
    stops = [w for w in chain if w is focused or among or not isinstance(w, ExportChoice) or w.chosen]
    if not stops:
        return None
    return stops[(stops.index(focused) + by) % len(stops)] if focused in stops else stops[0]
