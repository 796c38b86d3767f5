"""Finds the final answer in a text, and compares it with a reference, as numbers or as texts."""

import math
import re
import unicodedata
from typing import NamedTuple

_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
_SIGN = r"(?:(?<![0-9A-Za-z)\]}.])[-+])?"  # else it is a minus between two values, or a hyphen
_DIGITS = r"(?:\d{1,3}(?:[, ]\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?P<number>{_SIGN}(?:{_DIGITS}))(?P<exponent>[eE][-+]?\d{{1,3}}(?!\w))?"
    r"(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?))?\s*(?P<unit>\\?%|[万亿萬億])?"
)
_UNITS = {"%": 1.0, "\\%": 1.0, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8}
_CURRENCY = "$€£¥￥"
LONGEST_UNIT = 15  # characters of what may follow the number of a reference, as in "18 apples"


class Number(NamedTuple):
    value: float
    percent: bool


def final_part(text: str) -> str:
    """Where a text gives its answer: <answer>, \\boxed{} or what follows ####; else all of it."""
    if tagged := _ANSWER_TAG.findall(text):
        text = tagged[-1]
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    return text.rpartition("####")[2] if "####" in text else text


def _boxed(text: str) -> str | None:
    """The content of the last \\boxed{}, whose braces may nest; None if there is none that is closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    begin, depth = start + len("\\boxed{"), 1
    for at in range(begin, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return text[begin:at]
    return None


def _plain(text: str) -> str:
    """The text with full-width digits, other minus signs and LaTeX fractions as in plain ASCII."""
    text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").replace("{,}", ",")
    return _FRACTION.sub(r"\1/\2", text)


def numbers_in(text: str) -> list[Number]:
    """The numbers in a text, in order. Commas part thousands, a point the decimals; 万 and 亿 multiply."""
    return [number for found in _NUMBER.finditer(_plain(text)) if (number := _number(found)) is not None]


def _number(found: re.Match[str]) -> Number | None:
    value = float(re.sub(r"[, ]", "", found["number"]) + (found["exponent"] or ""))
    if found["divisor"]:
        if not float(found["divisor"]):
            return None
        value /= float(found["divisor"])
    unit = found["unit"] or ""
    return Number(value * _UNITS.get(unit, 1.0), unit.endswith("%"))


def as_number(reference: str) -> Number | None:
    """The number that a reference is, with a currency before it or a unit after it; None for other texts."""
    text = _plain(reference).strip().lstrip(_CURRENCY + "\\").strip()
    match = _NUMBER.match(text)
    if match is None:
        return None
    rest = text[match.end() :].strip()
    if len(rest) > LONGEST_UNIT or any(sign.isdigit() for sign in rest) or len(rest.split()) > 2:
        return None
    return _number(match)


def same_number(one: Number, other: Number, tolerance: float) -> bool:
    """Whether two numbers are equal. If only one is in percent, 50% is 50 and 0.5 too."""
    pairs = [(one.value, other.value)]
    if one.percent != other.percent:
        pairs.append((one.value / 100, other.value) if one.percent else (one.value, other.value / 100))
    return any(math.isclose(a, b, rel_tol=1e-9, abs_tol=max(tolerance, 1e-12)) for a, b in pairs)


def same_text(one: str, other: str) -> bool:
    """Whether two texts are equal, but for case, spaces, width, and a mark at the end."""
    return _normal(one) == _normal(other)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。!?,;: ").strip("\"'“”`*$ ")
