"""Pictures of the app: an SVG from a headless run, and a PNG of it with Chinese glyphs two columns wide."""

from __future__ import annotations

import re
from pathlib import Path

# Fonts are looked for by these names; Latin and Chinese must come from one family to keep the columns.
FONTS = ("Noto Sans Mono CJK SC", "WenQuanYi Micro Hei Mono", "DejaVu Sans Mono")


def to_png(svg: str, path: Path, scale: float = 1.0, font: str = FONTS[0]) -> Path:
    """Render Textual's SVG with a font of this machine: it names one from the web, which is not there."""
    import resvg_py

    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family:\s*[^;]+;", f"font-family: '{font}';", svg)
    picture = resvg_py.svg_to_bytes(
        svg_string=svg, zoom=max(1, round(scale)), font_family=font, monospace_family=font
    )
    path.write_bytes(bytes(picture))
    return path
