"""Pictures of the app: an SVG from a headless run, and a PNG of it with Chinese glyphs two columns wide."""

from __future__ import annotations

import html
import re
from pathlib import Path

from rich.cells import cell_len

# Fonts are looked for by these names; Latin and Chinese must come from one family to keep the columns.
FONTS = ("Noto Sans Mono CJK SC", "WenQuanYi Micro Hei Mono", "DejaVu Sans Mono")


_TEXT = re.compile(r'textLength="([\d.]+)"([^>]*)>([^<]*)</text>')


def _wide(match: re.Match[str]) -> str:
    """Rich gives each character one column; a Chinese one takes two."""
    text = html.unescape(match[3])
    length = float(match[1]) / max(1, len(text)) * cell_len(text)
    return f'textLength="{length:.1f}"{match[2]}>{match[3]}</text>'


def widen(svg: str) -> str:
    """Give Chinese glyphs the two columns that a terminal gives them."""
    return _TEXT.sub(_wide, svg)


def to_png(svg: str, path: Path, scale: float = 1.0, font: str = FONTS[0]) -> Path:
    """Render Textual's SVG with a font of this machine: it names one from the web, which is not there."""
    import resvg_py

    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family:\s*[^;]+;", f"font-family: '{font}';", svg)
    svg = widen(svg)
    picture = resvg_py.svg_to_bytes(
        svg_string=svg, zoom=max(1, round(scale)), font_family=font, monospace_family=font
    )
    path.write_bytes(bytes(picture))
    return path
