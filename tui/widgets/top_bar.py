"""The line at the top: the current screen, and the state of the engine."""

from textual.app import ComposeResult
from textual.widget import Widget

from tui.text.sanitize import visible
from tui.text.translation import _
from tui.widgets.literal_text import LiteralText


class TopBar(Widget):
    """Call `show` with the title and the engine's state, both as text."""

    DEFAULT_CSS = """
    TopBar { layout: horizontal; height: 1; background: $panel; padding: 0 1; }
    TopBar .where { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; text-style: bold; }
    TopBar .engine { width: auto; max-width: 60%; text-wrap: nowrap; text-overflow: ellipsis; padding-left: 2; }
    TopBar .engine.-failed { color: $text-error; text-style: bold; }
    TopBar .engine.-ready { color: $text-success; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._where = LiteralText(classes="where")
        self._engine = LiteralText(classes="engine")

    def compose(self) -> ComposeResult:
        yield self._where
        yield self._engine

    def show(self, where: str, engine: str = "", tone: str = "") -> None:
        """`tone`: "", "ready" or "failed"."""
        self._where.set_text(visible(" · ".join(filter(None, (_("Loris"), where)))))
        self._engine.set_text(visible(engine))
        self._engine.set_class(tone == "failed", "-failed")
        self._engine.set_class(tone == "ready", "-ready")
