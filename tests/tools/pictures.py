"""The README's picture, of a real run of the demo: `uv run python -m tests.tools.pictures` (a minute or two)."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from pathlib import Path

from engine.client.launch import launch, new_run
from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.protocol.commands import Shutdown
from tests.helpers.engine_process import with_changes
from tests.tools.screenshot import widen
from tui.app import LorisApp

FOLDER = Path(__file__).parent / "pictures"
STEPS_SHOWN = 60
SIZE = (110, 30)
FONTS = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def demo_in(folder: Path) -> RunSpec:
    """The demo, under a path that says nothing of this machine."""
    preset = find_preset("demo")
    assert preset is not None
    assert preset.spec is not None
    (folder / "model").symlink_to(preset.spec.model.model_name)
    return with_changes(preset.spec, model={"model_name": str(folder / "model")})


def portable(svg: str) -> str:
    """Without the web font that Textual names, so that the picture looks the same offline."""
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family:\s*[^;]+;", f"font-family: {FONTS};", widen(svg))


async def live_picture(spec: RunSpec) -> str:
    """Train, and take the live screen while it trains."""
    folder = new_run(spec)
    launch(folder, "train")
    app = LorisApp(language="en")
    async with app.run_test(size=SIZE) as pilot:
        app.open_run(folder, spec)
        while not (app.session.state.step and app.session.state.step.step >= STEPS_SHOWN):
            assert not app.session.state.failed, app.session.state.failed
            await pilot.pause(0.2)
        await pilot.press("5")  # the answers of the base model
        await pilot.pause(2.5)
        picture = portable(app.export_screenshot(title="loris demo"))
        while app.session.state.stage != "serving":
            await pilot.pause(0.2)
        async for _reply in app.session.backend.ask(folder, Shutdown(id=0)):
            pass
    return picture


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="loris-") as home:
        os.environ["LORIS_HOME"] = home
        picture = asyncio.run(live_picture(demo_in(Path(home))))
    (FOLDER / "live.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
