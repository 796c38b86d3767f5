"""The scripts of languages: which characters a language is written with."""

import re

_LATIN = "A-Za-zÀ-ÖØ-öø-ɏ"
_HAN = "㐀-䶿一-鿿豈-﫿"
# The letters of each language. Script alone cannot tell languages apart that share it: en is any in Latin letters.
SCRIPTS: dict[str, re.Pattern[str]] = {
    name: re.compile(f"[{letters}]")
    for name, letters in {
        "zh": _HAN,
        "en": _LATIN,
        "ja": f"{_HAN}぀-ヿㇰ-ㇿ々",
        "ko": "ᄀ-ᇿ㄰-㆏가-힯",
        "ru": "Ѐ-ӿ",
        "ar": "؀-ۿݐ-ݿ",
        "hi": "ऀ-ॿ",
        "th": "฀-๿",
        "he": "֐-׿",
        "el": "Ͱ-Ͽ",
    }.items()
}
