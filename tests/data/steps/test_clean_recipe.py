"""All cleaning steps in one recipe: batches and executors make no difference, and every change is in the ledger."""

from __future__ import annotations

from pathlib import Path

import llmos.data.steps.all_clean  # noqa: F401  - registers the steps
from tests.data.running import run
from tests.data.texts import documents

PROCESS = [
    "fix_unicode", "remove_control", "strip_html", "strip_markdown", "strip_boilerplate", {"normalise_punctuation": {"chinese": "keep"}},
    "normalise_unicode", "replace_whitespace", "remove_links", "remove_copyright", "remove_comments", "expand_macros",
    "remove_bibliography", {"remove_header": {"drop_no_head": False}}, {"remove_tables": {"min_col": 4}},
    {"remove_long_words": {"max_len": 40}},
    "remove_specific_chars", "remove_repeat_sentences", "remove_repeated_lines", "remove_words_with_incorrect_substrings",
    {"replace_content": {"pattern": "Python", "repl": "LLMOS"}}, "chinese_convert", "redact",
    {"truncate": {"max_chars": 3000}},
    {"chunk": {"max_len": 500, "overlap_len": 50}}, "sentence_lines", "sentence_split", "lowercase",
]  # fmt: skip


def test_batches_and_executors_make_no_difference(tmp_path: Path) -> None:
    rows = [{"text": text, "n": number} for number, text in enumerate(documents()[:120])]
    whole = run(tmp_path / "a", rows, PROCESS)
    cut = run(tmp_path / "b", rows, PROCESS, read={"batch_bytes": 2000})
    threads = run(tmp_path / "c", rows, PROCESS, executor="threads")
    assert whole.num_rows > 400
    for other in (cut, threads):
        assert other.scan().collect().equals(whole.scan().collect())
        assert other.ledger().collect().sort("step", "_id").equals(whole.ledger().collect().sort("step", "_id"))


def test_every_changed_row_is_in_the_ledger_with_what_it_lost(tmp_path: Path) -> None:
    version = run(tmp_path, [{"text": "one two two"}, {"text": "one"}], [{"truncate": {"max_chars": 7}}])
    assert version.ledger().collect().select("_id", "step", "action", "signal", "value").rows() == [
        ("rows#1", "0:truncate", "changed", "chars", -4.0)
    ]
