"""The contract of detectors of personal data and secrets: where in a text, of which kind, how sure.

    texts ── Detector.pattern (Rust, all texts in one pass) ──> candidates ── Detector.check (Python, candidates only) ──> Findings

Ordinary prose has few candidates, so checksums, dates and context words cost nothing there. A pattern is written for both regex
engines at once (no look-around, no back-reference, `\\b` in ASCII), so that a hostile text is read in linear time.

Adding a kind is one file: a class, `@detector("kind")`, `pattern`, `check`; and its import in scan.py.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from llmos.registry import Registry


@dataclass(frozen=True, slots=True)
class Finding:
    """text[start:end] is of that kind. confidence: 0 to 1; from 0.9 on a checksum or an unmistakable form speaks for it."""

    kind: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """phone_regions: ISO 3166 codes of countries whose national numbers (without +) are looked for. private_ips: addresses of local
    networks, loopback and documentation are findings too."""

    phone_regions: tuple[str, ...] = ("US", "CN")
    private_ips: bool = False


class Detector(ABC):
    """One kind. pattern: what candidates look like. rank: where two findings overlap, the lower rank wins."""

    kind: ClassVar[str] = ""
    pattern: ClassVar[str]
    rank: ClassVar[int] = 50

    def __init__(self, options: Options) -> None:
        self.options = options
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Loads what the detector needs. Raises MissingExtra."""

    @abstractmethod
    def check(self, text: str, start: int, end: int) -> Finding | None:
        """The finding in the candidate text[start:end], or None. May look at the text around it and return a narrower span."""

    def canonical(self, value: str) -> str:
        """The same for all spellings of one value, so that they get one pseudonym."""
        return value

    def found(self, start: int, end: int, confidence: float) -> Finding:
        return Finding(self.kind, start, end, confidence)


detectors: Registry[type[Detector]] = Registry("kind of personal data")

D = TypeVar("D", bound=type[Detector])


def detector(kind: str) -> Callable[[D], D]:
    """Registers a detector: `@detector("email")`."""

    def add(cls: D) -> D:
        cls.kind = kind
        detectors.add(kind, cls)
        return cls

    return add


def rust(pattern: str) -> str:
    """The pattern for Rust's engine: `\\b` of ASCII, which its fast automaton can do beside text of any script."""
    return pattern.replace(r"\b", r"(?-u:\b)")


def python(pattern: str) -> re.Pattern[str]:
    """The same for Python's engine."""
    return re.compile(pattern.replace(r"\b", r"(?a:\b)"))


def before(text: str, start: int, words: re.Pattern[str], chars: int = 32) -> bool:
    """Whether one of the words stands in the `chars` characters before the place, on the same line."""
    line = text.rfind("\n", max(0, start - chars), start) + 1
    return words.search(text, max(line, start - chars), start) is not None


def digits_of(value: str) -> str:
    return "".join(one for one in value if one.isdigit())


# What numbers are called that are no personal data, right before them: "order no. 4111…", "订单号".
LABELS = re.compile(
    r"(?:\border|\binvoice|\btracking|\bticket|\bserial|\bpart|\bsku|\bisbn|\bissn|\bdoi|\bbatch|\blot|\bcase|\btransaction"
    r"|\bmodel|\bbuild|\brevision|\bcommit|订单|单号|编号|流水|批号|序列|货号|书号|型号)"
    r"[a-z ]{0,12}(?:号|no\.?|number|id)?\s*[#:：.=]?\s*(?:is\s+|为\s*|是\s*)?$",
    re.IGNORECASE,
)
