"""How much of one text is in another: the checks of what models write, in any language and without a model.

words        runs of letters and digits, one a character where a script has no spaces (Chinese, Japanese kana, Thai …)
rouge_l      F of the longest common subsequence of words (Lin 2004, "ROUGE", section 3)
likeness     shared character trigrams, 2 |A ∩ B| / (|A| + |B|) over multisets (Dice 1945): 1.0 is a copy
support      share of an answer's words that stand together in a text
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORDS = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
)


def words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 over words; 0 when either has none."""
    common = longest_common(one, other) if one and other else 0
    return 2 * common / (len(one) + len(other)) if common else 0.0


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, one machine word of matches at a time (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited")."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(one)) - 1
    row = whole
    for word in other:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & whole
    return len(one) - row.bit_count()


def likeness(one: str, other: str) -> float:
    """1.0 for texts that differ in case and white space only; 0.0 when they share no trigram."""
    left, right = _trigrams(one), _trigrams(other)
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def _trigrams(text: str) -> Counter[str]:
    plain = f" {' '.join(text.casefold().split())} "
    return Counter(plain[place : place + 3] for place in range(len(plain) - 2))


def support(answer: str, text: str) -> float:
    """1.0 when the answer stands in the text word by word. Else the largest share of its words in any stretch of the text that is
    twice as long as it."""
    wanted, there = words(answer), words(text)
    if not wanted:
        return 0.0
    if _inside(wanted, there):
        return 1.0
    need, have = Counter(wanted), Counter[str]()
    width, best, common = 2 * len(wanted), 0, 0
    for place, word in enumerate(there):
        have[word] += 1
        common += have[word] <= need[word]
        if place >= width:
            gone = there[place - width]
            common -= have[gone] <= need[gone]
            have[gone] -= 1
        best = max(best, common)
    return best / len(wanted)


def _inside(wanted: list[str], there: list[str]) -> bool:
    return f" {' '.join(wanted)} " in f" {' '.join(there)} "
