"""Explains the focused field: next to the form if there is room, else in a few lines below it."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.config.fields import FieldInfo
from tui.text.sanitize import visible
from tui.text.translation import _
from tui.text.values import escape, shown

LONGEST_VALUE = 40


def number(value: float | None) -> str:
    """A bound for reading: no trailing decimals, thousands separated."""
    if value is None:
        return ""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def default_of(info: FieldInfo) -> str:
    """The default as text."""
    value = info.default
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else escape(shown(value))
    if text == "":
        return _("empty")
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def range_of(info: FieldInfo) -> str:
    """The accepted values, or nothing where they are obvious."""
    if info.kind in ("int", "float") and info.high is not None:
        low = number(info.low)
        if info.low_excluded:
            return _("above {low}, {high} at most").format(low=low, high=number(info.high))
        return _("{low} to {high}").format(low=low, high=number(info.high))
    if info.kind in ("choice", "choices"):
        return ", ".join(shown(choice) for choice in info.choices)
    return ""


def help_content(info: FieldInfo) -> Content:
    """The complete help on a field."""
    lines: list[tuple[str, str]] = [
        (_(info.title) + "\n", "bold"),
        (info.key + "\n\n", "dim"),
        (_(info.help) + "\n\n", ""),
        (_("Default") + "  ", "dim"),
        (visible(default_of(info)) + "\n", ""),
    ]
    if allowed := range_of(info):
        label = _("Range") if info.kind in ("int", "float") else _("Choices")
        lines += [(label + "  ", "dim"), (allowed, "")]
    return Content.assemble(*lines).rstrip()


class HelpPane(VerticalScroll, can_focus=False):
    """The help on a field, with its library name, default and range."""

    DEFAULT_CSS = """
    HelpPane { width: 35; padding: 1 1 0 2; border-left: solid $foreground 20%; }
    HelpPane > Static { height: auto; }
    """

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, content: Content) -> None:
        self.query_one(Static).update(content)
        self.scroll_home(animate=False)


class HelpLines(Static):
    """The help in three lines, for narrow terminals."""

    DEFAULT_CSS = """
    HelpLines { height: 4; padding: 0 1; border-top: solid $foreground 20%; color: $text; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def show(self, info: FieldInfo | None, otherwise: str = "") -> None:
        """Explain a field; show `otherwise` if no field has the focus."""
        if info is None:
            self.update(Content(otherwise))
            return
        facts = " · ".join(
            filter(None, (_("default {value}").format(value=visible(default_of(info))), range_of(info)))
        )
        self.update(Content.assemble((info.key, "bold"), (f"  {facts}\n", "dim"), _(info.help)))
