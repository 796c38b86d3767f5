"""What Loris remembers of a user from one login to the next. Not part of any run."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from engine.spec.files import write_atomically
from engine.spec.folder import home


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`language` is empty until the user has chosen one: then the locale decides.

    `price_per_hour`: what this machine costs; 0 where nobody wants to know. `currency`: free text, such as USD.
    """

    language: str = ""
    price_per_hour: float = 0.0
    currency: str = ""


def _path() -> Path:
    return home()[1] / "settings.json"


def load_settings() -> Settings:
    """The settings, or the defaults where there are none or they cannot be read."""
    try:
        return msgspec.json.decode(_path().read_bytes(), type=Settings)
    except (OSError, msgspec.DecodeError):
        return Settings()


def save_settings(settings: Settings) -> None:
    """Remember these. A home that cannot be written costs the memory, not the session."""
    try:
        write_atomically(_path(), msgspec.json.encode(settings).decode())
    except OSError:
        return


def parse_price(text: str) -> tuple[float, str] | None:
    """(price, currency) of a text such as "1.20 USD" or "$2"; (0, "") of an empty one; None where it is neither."""
    if not text.strip():
        return 0.0, ""
    found = re.fullmatch(r"([^\d.,-]*)(\d+(?:[.,]\d+)?)([^\d.,]*)", text.strip())
    if not found:
        return None
    return float(found[2].replace(",", ".")), (found[1].strip() or found[3].strip())[:12]
