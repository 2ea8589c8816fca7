"""The operators of Data-Juicer that recipes may name, and the step of LLMOS that decides the same.

Names, defaults and limits are facts of Data-Juicer 1.6.1 (`data_juicer/ops`). Limits are included in both; an open interval becomes the
next number. How far decisions agree on real text is measured operator by operator (docs/data-juicer.md). Where a recipe's result can
differ nevertheless, a notice says why.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmos.data.steps.function_words import ENGLISH
from llmos.errors import InvalidValue, did_you_mean

Call = dict[str, Any]

# Arguments of every operator that say where and how fast it runs.
_IDLE = """
accelerator adaptive_batching auto_op_parallelism batch_mode batch_size cpu_required gpu_required mem_required memory num_cpus num_gpus
num_proc ray_execution_mode runtime_env skip_op_error stats_export_path turbo work_dir
"""
IDLE = frozenset(_IDLE.split())


class Arguments:
    """What a recipe gives an operator. What is not taken is an error in the end."""

    def __init__(self, name: str, where: str, given: dict[str, Any]) -> None:
        self.name, self.where, self._given = name, where, given
        self._known: list[str] = []
        self.notices: list[str] = []
        self.common: Call = {}
        idle = sorted(IDLE & given.keys())
        for key in idle:
            del given[key]
        if idle:
            self.notices.append(f"{name}: {', '.join(idle)} decide no row and are left out.")
        if column := self.take("text_key", ""):
            self.common = {"column": column}

    def take(self, key: str, default: Any) -> Any:
        self._known.append(key)
        found = self._given.pop(key, None)
        return default if found is None else found

    def only(self, key: str, value: Any, why: str) -> None:
        """The argument must have its default. Raises InvalidValue."""
        if (given := self.take(key, value)) != value:
            raise self.refused(key, f"{given!r} is not supported: {why}")

    def refused(self, key: str, why: str) -> InvalidValue:
        return InvalidValue(f"{self.where}.{key}: {why}.", param=f"{self.where}.{key}")

    def number(self, key: str, default: float, low: bool, whole: bool) -> float | None:
        """A limit, as an included one; None for one that Data-Juicer means as none."""
        value = self.take(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.refused(key, f"a number is wanted, not {value!r}")
        if not self._closed["min" if low else "max"]:
            value = _next(value, 1 if low else -1, whole)
        if abs(value) >= sys.maxsize:
            return None
        if whole:
            value = math.ceil(value) if low else math.floor(value)
        return max(float(value), 0.0) if not whole else max(int(value), 0)

    def read_interval(self) -> None:
        self.only("reversed_range", False, "write the condition as the general_field_filter or step `where`")
        self._closed = {"min": self.take("min_closed_interval", True), "max": self.take("max_closed_interval", True)}

    def finish(self) -> None:
        if self._given:
            key = next(iter(self._given))
            hint = did_you_mean(key, sorted({*self._known, *IDLE}), limit=40)
            raise InvalidValue(f"{self.where}: there is no argument {key}.", param=f"{self.where}.{key}", hint=hint)


def _next(value: float, way: int, whole: bool) -> float:
    """The next number that an open interval still has."""
    if whole:
        return math.floor(value) + 1 if way > 0 else math.ceil(value) - 1
    return math.nextafter(value, math.inf * way)


Operator = Callable[[Arguments], list[Call]]
operators: dict[str, Operator] = {}


@dataclass(slots=True)
class Translation:
    """Collects what a user must be told."""

    notices: list[str] = field(default_factory=list)

    def steps(self, operator: Operator, name: str, where: str, given: dict[str, Any]) -> list[Call]:
        arguments = Arguments(name, where, given)
        made = operator(arguments)
        arguments.finish()
        self.notices += arguments.notices
        return [{step: {**params, **arguments.common}} for call in made for step, params in call.items()]


def operator(name: str) -> Callable[[Operator], Operator]:
    def add(made: Operator) -> Operator:
        operators[name] = made
        return made

    return add


# -- filters with a range ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    """low, high: (Data-Juicer's argument, its default, ours). renamed: other arguments, with defaults."""

    step: str
    low: tuple[str, float, str]
    high: tuple[str, float, str]
    whole: bool = False
    renamed: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    words: bool = False  # has `lang` and `tokenization`

    def __call__(self, given: Arguments) -> list[Call]:
        given.read_interval()
        if self.words:
            no_tokenizer(given)
        params = {ours: given.take(theirs, default) for theirs, (default, ours) in self.renamed.items()}
        for (theirs, default, ours), is_low in ((self.low, True), (self.high, False)):
            value = given.number(theirs, default, is_low, self.whole)
            params[ours] = value if value is not None or is_low or self.whole else float(sys.maxsize)
        return [{self.step: params}]


def no_tokenizer(given: Arguments) -> None:
    given.take("lang", "en")
    given.only("tokenization", False, "its SentencePiece models are not loaded; words are cut at spaces")


_RATIO = ("max_ratio", float(sys.maxsize), "max_ratio")
_RANGED = {
    "alphanumeric_filter": Ranged(step="alphanumeric_ratio", low=("min_ratio", 0.25, "min_ratio"), high=_RATIO),
    "special_characters_filter": Ranged(
        step="special_characters_ratio", low=("min_ratio", 0.0, "min_ratio"), high=("max_ratio", 0.25, "max_ratio")
    ),
    "character_repetition_filter": Ranged(
        step="character_repetition", low=("min_ratio", 0.0, "min_ratio"), high=("max_ratio", 0.5, "max_ratio"),
        renamed={"rep_len": (10, "num_chars")},
    ),
    "word_repetition_filter": Ranged(
        step="word_repetition", low=("min_ratio", 0.0, "min_ratio"), high=("max_ratio", 0.5, "max_ratio"),
        renamed={"rep_len": (10, "num_words")}, words=True,
    ),
    "average_line_length_filter": Ranged(
        step="average_line_length", low=("min_len", 10, "min_chars"), high=("max_len", sys.maxsize, "max_chars")
    ),
    "maximum_line_length_filter": Ranged(
        step="maximum_line_length", low=("min_len", 10, "min_chars"), high=("max_len", sys.maxsize, "max_chars"), whole=True
    ),
    "text_length_filter": Ranged(
        step="text_length", low=("min_len", 10, "min_chars"), high=("max_len", sys.maxsize, "max_chars"), whole=True
    ),
    "words_num_filter": Ranged(
        step="num_words", low=("min_num", 10, "min_words"), high=("max_num", sys.maxsize, "max_words"), whole=True, words=True
    ),
    "token_num_filter": Ranged(
        step="num_tokens", low=("min_num", 10, "min_tokens"), high=("max_num", sys.maxsize, "max_tokens"), whole=True,
        renamed={"hf_tokenizer": ("EleutherAI/pythia-6.9b-deduped", "tokenizer")},
    ),
}  # fmt: skip
operators.update(_RANGED)


@operator("alphanumeric_filter")
def alphanumeric(given: Arguments) -> list[Call]:
    given.only("tokenization", False, "the ratio of letters to tokens of pythia-6.9b is not measured")
    return _RANGED["alphanumeric_filter"](given)


def _listed(given: Arguments, step: str, kind: str, low: float, high: float) -> tuple[Call, str]:
    """A share of listed words, and the folder of lists ("" when the recipe names none)."""
    given.only("tokenization", False, "its SentencePiece models are not loaded; words are cut at spaces")
    given.only("use_words_aug", False, "groups of words are not looked up")
    given.take("words_aug_group_sizes", None), given.take("words_aug_join_char", None)
    language, folder = given.take("lang", "en"), given.take(f"{kind}_dir", "")
    given.read_interval()
    params: Call = {"language": language}
    params["min_ratio"] = given.number("min_ratio", low, low=True, whole=False)
    params["max_ratio"] = given.number("max_ratio", high, low=False, whole=False)
    if params["max_ratio"] is None:
        params["max_ratio"] = float(sys.maxsize)
    if folder:
        params["file"] = _list_in(folder, kind, given)
    return {step: params}, folder


def _list_in(folder: str, kind: str, given: Arguments) -> str:
    from pathlib import Path

    found = sorted(one for one in Path(folder).expanduser().glob("*.json") if kind in one.name)
    if len(found) != 1:
        raise given.refused(f"{kind}_dir", f"{folder} has {len(found)} files *{kind}*.json; exactly one is wanted")
    return str(found[0])


@operator("stopwords_filter")
def stopwords(given: Arguments) -> list[Call]:
    call, folder = _listed(given, "stopwords_ratio", "stopwords", 0.3, 1.0)
    if not folder:
        given.notices.append(
            f"stopwords_filter: without stopwords_dir Data-Juicer downloads its list; here the built-in one ({len(ENGLISH)} English words) "
            "is used, so shares are lower by a little."
        )
    return [call]


@operator("flagged_words_filter")
def flagged_words(given: Arguments) -> list[Call]:
    call, folder = _listed(given, "flagged_words_ratio", "flagged_words", 0.0, 0.045)
    if not folder:
        call["flagged_words_ratio"]["builtin"] = True
        given.notices.append(
            "flagged_words_filter: without flagged_words_dir Data-Juicer downloads its list; here a short built-in one is used and "
            "finds less. Give flagged_words_dir for the same decisions."
        )
    return [call]


@operator("language_id_score_filter")
def language(given: Arguments) -> list[Call]:
    wanted = given.take("lang", "")
    given.read_interval()
    score = given.number("min_score", 0.8, low=True, whole=False)
    given.notices.append(
        "language_id_score_filter: languages are found by lid.176.ftz, the compressed form of Data-Juicer's lid.176.bin."
    )
    languages = [wanted] if isinstance(wanted, str) and wanted else list(wanted)
    return [{"language_is": {"languages": languages, "min_score": score, "lowercase": True}}]


# -- filters and selectors on fields -----------------------------------------------------------------------------------
def _field(given: Arguments, key: str = "field_key") -> str:
    name = str(given.take(key, ""))
    if name.startswith("__dj__stats__"):
        raise given.refused(key, "stats of other operators are not fields here; filter by the operator that measures them")
    return name


def _no_choice(given: Arguments) -> list[Call]:
    given.notices.append(f"{given.name}: it names nothing to choose by and keeps every row, as in Data-Juicer; it is left out.")
    return []


@operator("general_field_filter")
def general_field(given: Arguments) -> list[Call]:
    condition = str(given.take("filter_condition", "")).strip()
    if "__dj__stats__" in condition:
        raise given.refused("filter_condition", "stats of other operators are not fields here")
    return [{"where": {"expression": condition}}] if condition else _no_choice(given)


@operator("specified_field_filter")
def specified_field(given: Arguments) -> list[Call]:
    name, wanted = _field(given), given.take("target_value", [])
    given.only("reversed_range", False, "write it as general_field_filter: not (…)")
    return [{"field_in": {"field": name, "values": list(wanted)}}] if name and wanted else _no_choice(given)


@operator("specified_numeric_field_filter")
def specified_numeric_field(given: Arguments) -> list[Call]:
    name = _field(given)
    given.only("reversed_range", False, "write it as general_field_filter")
    closed = [given.take("min_closed_interval", True), given.take("max_closed_interval", True)]
    limits = [given.take("min_value", -sys.maxsize), given.take("max_value", sys.maxsize)]
    if not name:
        return _no_choice(given)
    given.notices.append(
        "specified_numeric_field_filter: Data-Juicer also drops the number 0, as no number; it is kept when in range."
    )
    low, high = (value if shut else _next(value, way, False) for value, shut, way in zip(limits, closed, (1, -1), strict=True))
    params: Call = {"field": name}
    if low > -sys.maxsize:
        params["min_value"] = low
    if high < sys.maxsize:
        params["max_value"] = high
    return [{"field_range": params}]


@operator("tags_specified_field_selector")
def tags(given: Arguments) -> list[Call]:
    name, wanted = _field(given), given.take("target_tags", [])
    return [{"field_in": {"field": name, "values": list(wanted)}}] if name else _no_choice(given)


def _chosen(given: Arguments, step: str, direction: str) -> list[Call]:
    name, num, share = _field(given), given.take("topk", None), given.take("top_ratio", None) or None
    reverse = given.take("reverse", True)
    if not name or (num is None and share is None):
        return _no_choice(given)
    return [{step: {"field": name, "num": num, "share": share, direction: reverse}}]


@operator("topk_specified_field_selector")
def topk(given: Arguments) -> list[Call]:
    return _chosen(given, "top_by_field", "highest")


@operator("frequency_specified_field_selector")
def frequency(given: Arguments) -> list[Call]:
    return _chosen(given, "frequent_values", "most")


@operator("range_specified_field_selector")
def ranked(given: Arguments) -> list[Call]:
    name = _field(given)
    lower = {"lower_share": given.take("lower_percentile", None), "lower_rank": given.take("lower_rank", None)}
    upper = {"upper_share": given.take("upper_percentile", None), "upper_rank": given.take("upper_rank", None)}
    if not name or set(lower.values()) == {None} or set(upper.values()) == {None}:
        return _no_choice(given)
    return [{"range_by_field": {"field": name} | {key: value for key, value in (lower | upper).items() if value is not None}}]


@operator("random_selector")
def random_rows(given: Arguments) -> list[Call]:
    share, num = given.take("select_ratio", None) or None, given.take("select_num", None)
    if num is None and share is None:
        return _no_choice(given)
    given.notices.append("random_selector: other rows than Data-Juicer draws, the same ones in every run; a share is rounded up.")
    wanted: list[Call] = [{"fraction": share}] if share else []
    return [{"sample": one} for one in [*wanted, *([{"rows": num}] if num else [])]]


# -- duplicates --------------------------------------------------------------------------------------------------------
@operator("document_deduplicator")
def document_deduplicator(given: Arguments) -> list[Call]:
    params: Call = {"ignore_case": given.take("lowercase", False), "ignore_ends": True}
    if given.take("ignore_non_character", False):
        params |= {"ignore_space": True, "ignore_punctuation": True, "ignore_digits": True}
        given.notices.append(f"{given.name}: punctuation of every script makes no difference, not only ASCII's.")
    return [{"exact_dedup": params}]


@operator("document_minhash_deduplicator")
def document_minhash_deduplicator(given: Arguments) -> list[Call]:
    words = {"space": "spaced", "character": "characters"}  # pieces between punctuation marks are no words here
    tokenization = given.take("tokenization", "space")
    if tokenization not in words:
        raise InvalidValue(
            f"document_minhash_deduplicator: tokenization {tokenization!r} is not supported.",
            param="tokenization",
            hint=f"One of {', '.join(words)}.",
        )
    given.only("lowercase", True, "shingles are always made of lower-case words")
    given.take("tokenizer_model", None)
    given.only("ignore_pattern", None, "remove it with a step before")
    num = given.take("num_permutations", 256)
    threshold = given.take("jaccard_threshold", 0.7)
    bands, rows = given.take("num_bands", None), given.take("num_rows_per_band", None)
    if bands is None or rows is None:
        bands, rows = best_bands(threshold, num)
    window = given.take("window_size", 5)
    given.notices.append(
        f"{given.name}: texts of fewer than {window} words are duplicates of each other, and one of them stays, as in Data-Juicer."
    )
    return [
        {"minhash_dedup": {"ngram": window, "words": words[tokenization], "short": "equal", "bands": bands, "rows_per_band": rows}}
    ]


def best_bands(threshold: float, num: int) -> tuple[int, int]:
    """(bands, rows) whose sum of false positives and false negatives is smallest: the area under 1 - (1 - s^r)^b left of the threshold
    and over it right of the threshold (datasketch, which Data-Juicer follows; Leskovec et al. 2014, chapter 3.4)."""
    left, right = np.linspace(0.0, threshold, 1001), np.linspace(threshold, 1.0, 1001)
    best, found = math.inf, (1, num)
    for bands in range(1, num + 1):
        for rows in range(1, num // bands + 1):
            false_positive = np.trapezoid(1 - (1 - left**rows) ** bands, left)
            false_negative = np.trapezoid((1 - right**rows) ** bands, right)
            if (error := float(0.5 * false_positive + 0.5 * false_negative)) < best:
                best, found = error, (bands, rows)
    return found
