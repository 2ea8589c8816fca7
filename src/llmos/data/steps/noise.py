"""Mistakes that people and scanners make, put into texts on purpose."""

from __future__ import annotations

import random
import re
from typing import Literal

from pydantic import Field

from llmos.data.base import step
from llmos.data.synth.varied import Varied, VariedConfig

Kind = Literal["keyboard", "ocr", "swap_letters", "drop_letters", "insert_letters", "swap_words", "drop_words"]
LETTERS: tuple[Kind, ...] = ("swap_letters", "drop_letters", "insert_letters")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # ANSI keyboard; a key's neighbours are left, right, above and below
_LOOKALIKE = {  # what optical character recognition takes for each other
    "0": "O", "O": "0", "o": "0", "1": "l", "l": "1", "I": "l", "i": "l", "5": "S", "S": "5", "s": "5", "8": "B", "B": "8", "b": "6",
    "6": "b", "g": "9", "9": "g", "q": "g", "Z": "2", "z": "2", "2": "Z", "e": "c", "c": "e", "u": "v", "v": "u", "n": "r", "h": "b",
    "a": "o", "t": "f", "f": "t", "D": "O", "G": "C", "C": "G", "m": "rn", "w": "vv", "d": "cl",
}  # fmt: skip


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for number, keys in enumerate(_ROWS):
        for place, key in enumerate(keys):
            near = [keys[place - 1 : place], keys[place + 1 : place + 2]]
            if number:
                near.append(_ROWS[number - 1][place : place + 2])
            if number + 1 < len(_ROWS):
                near.append(_ROWS[number + 1][max(place - 1, 0) : place + 1])
            found[key] = "".join(near)
    return found


_NEAR = _neighbours()


@step("noise")
class Noise(Varied):
    """Adds noisy copies. In each, `rate` of the words (a character where a script has no spaces) suffer one mistake, drawn from `kinds`: a
    neighbouring key, a letter that scanners confuse, letters swapped, dropped or inserted (Belinkov & Bisk 2018), words swapped with the
    next or dropped (EDA, Wei & Zou 2019, whose rate is 0.1)."""

    class Config(VariedConfig):
        kinds: tuple[Kind, ...] = Field(("keyboard", *LETTERS), min_length=1, description="Mistakes to draw from.")

    config: Config

    def vary(self, text: str, draw: random.Random) -> str:
        spans = [found.span() for found in _WORD.finditer(text)]
        words = [text[start:end] for start, end in spans]
        for place in self.changes(len(words), draw):
            kind = draw.choice(self.config.kinds)
            if kind == "drop_words":
                words[place] = ""
            elif kind == "swap_words":
                other = place + 1 if place + 1 < len(words) else place - 1
                if other >= 0:
                    words[place], words[other] = words[other], words[place]
            else:
                words[place] = _mistaken(words[place], kind, draw)
        out, done = [], 0
        for (start, end), word in zip(spans, words, strict=True):
            gap = text[done:start]
            out.append(gap[1:] if not word and gap.startswith(" ") else gap)  # a dropped word goes with the space before it
            out.append(word)
            done = end
        return "".join([*out, text[done:]])


def _mistaken(word: str, kind: Kind, draw: random.Random) -> str:
    """The word with one mistake; as it was when it cannot have this one."""
    if kind in ("keyboard", "ocr"):
        fits = [
            place for place, letter in enumerate(word) if (letter.lower() in _NEAR if kind == "keyboard" else letter in _LOOKALIKE)
        ]
        if not fits:
            return word
        place = draw.choice(fits)
        letter = word[place]
        new = draw.choice(_NEAR[letter.lower()]) if kind == "keyboard" else _LOOKALIKE[letter]
        return word[:place] + (new.upper() if kind == "keyboard" and letter.isupper() else new) + word[place + 1 :]
    if kind == "insert_letters":
        place = draw.randrange(len(word))
        return word[: place + 1] + draw.choice(_NEAR.get(word[place].lower(), word[place])) + word[place + 1 :]
    if len(word) < 2:
        return word
    place = draw.randrange(len(word) - 1)
    if kind == "drop_letters":
        return word[:place] + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
