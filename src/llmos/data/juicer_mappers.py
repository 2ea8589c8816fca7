"""Data-Juicer's operators that rewrite text, and the cleaning step of LLMOS that does the same; beside juicer_operators.py.

What a mapper of LLMOS does otherwise on purpose (it does not fold blanks where a word goes, it drops a row instead of emptying it) is
told by a notice. Facts of Data-Juicer 1.6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmos.data.juicer_operators import Arguments, Call, operator, operators

# Patterns that Data-Juicer uses when a recipe gives none. LINK is John Gruber's "liberal, accurate regex pattern for matching URLs"
# (public domain, daringfireball.net/2010/07/improved_regex_for_matching_urls).
EMAIL = r"[A-Za-z0-9.\-+_]+@[a-z0-9.\-+_]+\.[a-z]+"
_BYTE = r"(?:1[0-9][0-9]|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])"
IP = rf"(?:{_BYTE}\.){{3}}{_BYTE}|(?:[0-9a-fA-F]{{1,4}}:){{7}}[0-9a-fA-F]{{1,4}}"
LINK = (
    r"(?i)\b((?:[a-z][\w-]+:(?:/{1,3}|[a-z0-9%])|www\d{0,3}[.]|[a-z0-9.\-]+[.][a-z]{2,4}/)"
    r"(?:[^\s()<>]+|\(([^\s()<>]+|(\([^\s()<>]+\)))*\))+"
    r"(?:\(([^\s()<>]+|(\([^\s()<>]+\)))*\)|[^\s`!()\[\]{};:'\".,<>?«»“”‘’]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """takes: arguments that go over under their own names, with Data-Juicer's defaults. always: what ours has to be told for that.
    only: arguments that must have their default, and why. note: what differs."""

    step: str
    takes: Mapping[str, Any] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    note: str = ""

    def __call__(self, given: Arguments) -> list[Call]:
        for key in self.idle:
            given.take(key, None)
        for key, (value, why) in self.only.items():
            given.only(key, value, why)
        params = {key: given.take(key, default) for key, default in self.takes.items()}
        if self.note:
            given.notices.append(f"{given.name}: {self.note}.")
        return [{self.step: dict(self.always) | {key: value for key, value in params.items() if value is not None}}]


_FOLDED = "blanks around the words that go are not folded as Data-Juicer folds them"

operators.update(
    {
        "chinese_convert_mapper": Same(step="chinese_convert", takes={"mode": "s2t"}),
        "punctuation_normalization_mapper": Same(
            step="normalise_punctuation", note="‘ becomes ' too, and a full-width 1 stays a digit"
        ),
        "whitespace_normalization_mapper": Same(step="replace_whitespace", note="form feeds become spaces too"),
        "clean_html_mapper": Same(
            step="strip_html", always={"blocks": False, "scripts": True},
            note="a text without markup is not touched, and an entity must end with a semicolon",
        ),
        "clean_copyright_mapper": Same(step="remove_copyright"),
        "expand_macro_mapper": Same(step="expand_macros"),
        "remove_bibliography_mapper": Same(step="remove_bibliography"),
        "remove_comments_mapper": Same(
            step="remove_comments", takes={"inline": True, "multiline": True}, only={"doc_type": ("tex", "it has only tex too")},
            note="the character before an inline comment stays, where Data-Juicer deletes it",
        ),
        "remove_header_mapper": Same(
            step="remove_header", takes={"drop_no_head": True}, note="a text without a heading is dropped, where Data-Juicer empties it"
        ),
        "remove_long_words_mapper": Same(step="remove_long_words", takes={"min_len": 1, "max_len": None}, note=_FOLDED),
        "remove_non_chinese_character_mapper": Same(
            step="remove_non_chinese_characters", takes={"keep_alphabet": True, "keep_number": True, "keep_punc": True}
        ),
        "remove_repeat_sentences_mapper": Same(
            step="remove_repeat_sentences",
            takes={"lowercase": False, "ignore_special_character": True, "min_repeat_sentence_length": 2},
            only={"tokenizer": (None, "a recipe runs no code")}, note="several dots end one sentence, not several",
        ),
        "remove_specific_chars_mapper": Same(step="remove_specific_chars", takes={"chars_to_remove": "◆●■►▼▲▴∆▻▷❖♡□"}),
        "remove_table_text_mapper": Same(step="remove_tables", takes={"min_col": 2, "max_col": 20}),
        "remove_words_with_incorrect_substrings_mapper": Same(
            step="remove_words_with_incorrect_substrings", takes={"substrings": None}, idle=("lang",), note=_FOLDED,
            only={"tokenization": (False, "its SentencePiece models are not loaded; words are cut at spaces")},
        ),
        "sentence_split_mapper": Same(
            step="sentence_lines", idle=("lang",), note="sentences end by the rules of LLMOS, not by NLTK's punkt models"
        ),
        "text_chunk_mapper": Same(
            step="chunk", takes={"max_len": None, "split_pattern": r"\n\n", "overlap_len": 0}, idle=("trust_remote_code",),
            only={"tokenizer": (None, "chunks are measured in characters; write the step `chunk` with unit: tokens for tokens")},
        ),
    }
)  # fmt: skip


@operator("fix_unicode_mapper")
def fix_unicode(given: Arguments) -> list[Call]:
    return [{"fix_unicode": {"normalization": str(given.take("normalization", "") or "NFC").upper()}}]


def _replaced(given: Arguments, default: str) -> list[Call]:
    pattern, repl = given.take("pattern", default), given.take("repl", "")
    given.notices.append(f"{given.name}: patterns are Rust's: they have no look-around and no back-references.")
    return [{"replace_content": {"pattern": pattern, "repl": repl}}] if pattern else []


@operator("clean_email_mapper")
def clean_email(given: Arguments) -> list[Call]:
    return _replaced(given, EMAIL)


@operator("clean_ip_mapper")
def clean_ip(given: Arguments) -> list[Call]:
    return _replaced(given, IP)


@operator("clean_links_mapper")
def clean_links(given: Arguments) -> list[Call]:
    return _replaced(given, LINK)


@operator("replace_content_mapper")
def replace_content(given: Arguments) -> list[Call]:
    return _replaced(given, "")
