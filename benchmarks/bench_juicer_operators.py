"""How far the steps that stand for Data-Juicer's operators decide as these do, operator by operator, on the same documents.

In: nothing (the documents are made of packages: data_corpus.py and corpora.py). Out: a table, benchmarks/results/juicer_operators.json.
Every operator that recipes may name and that needs no download runs alone, with its defaults and with limits that drop more, in
Data-Juicer and as the recipe that LLMOS makes of it (data/juicer_operators.py). Of filters, selectors and deduplicators the figure is the
share of documents that both keep or both drop; of mappers the share that has the same text afterwards. The lists of stop words and
flagged words are the same for both. Times are not compared here: bench_data.py does that.

    python -m venv DJ && DJ/bin/pip install -r benchmarks/rivals/requirements-data-juicer.txt     JUICER_PYTHON=DJ/bin/python
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench_data import prepared
from benchmarks.corpora import SEED, chinese_reviews
from benchmarks.report import finish, print_table
from llmos.data.builtins import load
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.steps.function_words import ENGLISH, FLAGGED
from llmos.data.store import Datasets
from llmos.library.library import Library
from llmos.settings import Settings

RIVAL = Path(__file__).parent / "rivals" / "data_juicer_operators.py"
MEGABYTES, EVERY = 28, 5  # of the corpus, and which of its documents
NUM_CHINESE = 300
LANGUAGES = ("en", "zh", "de", None)
Case = tuple[str, dict[str, Any]]

FILTERS: list[Case] = [
    ("alphanumeric_filter", {}),
    ("alphanumeric_filter", {"min_ratio": 0.75, "max_ratio": 0.82}),
    ("average_line_length_filter", {}),
    ("average_line_length_filter", {"min_len": 30, "max_len": 60}),
    ("character_repetition_filter", {}),
    ("character_repetition_filter", {"rep_len": 5, "max_ratio": 0.2}),
    ("character_repetition_filter", {"rep_len": 10, "max_ratio": 0.1}),
    ("flagged_words_filter", {}),
    ("flagged_words_filter", {"max_ratio": 0.0005}),
    ("general_field_filter", {"filter_condition": "10 < n <= 60 and lang != 'zh'"}),
    ("general_field_filter", {"filter_condition": "lang in ['en', 'de'] or not (score > 20.5 and meta.b == 'x')"}),
    ("general_field_filter", {"filter_condition": "lang not in ['en'] and 'the' in text"}),
    ("maximum_line_length_filter", {}),
    ("maximum_line_length_filter", {"min_len": 50, "max_len": 80, "max_closed_interval": False}),
    ("special_characters_filter", {}),
    ("special_characters_filter", {"min_ratio": 0.18, "max_ratio": 0.3}),
    ("specified_field_filter", {"field_key": "lang", "target_value": ["en", "de"]}),
    ("specified_field_filter", {"field_key": "meta.a", "target_value": [1, 2]}),
    ("specified_numeric_field_filter", {"field_key": "n", "min_value": 5, "max_value": 40}),
    ("specified_numeric_field_filter", {"field_key": "score", "max_value": 50.5}),
    ("stopwords_filter", {}),
    ("stopwords_filter", {"min_ratio": 0.4, "max_ratio": 0.5}),
    ("text_length_filter", {}),
    ("text_length_filter", {"min_len": 1000, "max_len": 2000}),
    ("word_repetition_filter", {}),
    ("word_repetition_filter", {"rep_len": 3, "max_ratio": 0.1}),
    ("word_repetition_filter", {"rep_len": 10, "max_ratio": 0.02}),
    ("words_num_filter", {}),
    ("words_num_filter", {"min_num": 150, "max_num": 600, "min_closed_interval": False}),
    ("frequency_specified_field_selector", {"field_key": "n", "topk": 30}),
    ("frequency_specified_field_selector", {"field_key": "lang", "top_ratio": 0.5, "reverse": False}),
    ("range_specified_field_selector", {"field_key": "n", "lower_percentile": 0.13, "upper_percentile": 0.61}),
    ("range_specified_field_selector", {"field_key": "score", "lower_rank": 100, "upper_rank": 333}),
    ("tags_specified_field_selector", {"field_key": "meta.b", "target_tags": ["y"]}),
    ("topk_specified_field_selector", {"field_key": "n", "topk": 300}),
    ("topk_specified_field_selector", {"field_key": "score", "top_ratio": 0.21, "reverse": False}),
    ("document_deduplicator", {}),
    ("document_deduplicator", {"lowercase": True}),
    ("document_deduplicator", {"lowercase": True, "ignore_non_character": True}),
    ("document_minhash_deduplicator", {}),
    ("document_minhash_deduplicator", {"jaccard_threshold": 0.5, "window_size": 3}),
]
_PLAIN_MAPPERS = """
chinese_convert clean_copyright clean_email clean_html clean_ip clean_links expand_macro fix_unicode punctuation_normalization
remove_bibliography remove_comments remove_header remove_non_chinese_character remove_repeat_sentences remove_specific_chars
remove_table_text remove_words_with_incorrect_substrings whitespace_normalization
"""
MAPPERS: list[Case] = [
    *((f"{name}_mapper", {}) for name in _PLAIN_MAPPERS.split()),
    ("remove_long_words_mapper", {"max_len": 20}),
    ("replace_content_mapper", {"pattern": "[0-9]+", "repl": "<N>"}),
]


def documents() -> list[dict[str, Any]]:
    """Of the corpus and Chinese reviews, shuffled, some made copies of others, with fields to filter by."""
    draw = random.Random(SEED)
    lines = [line for path in sorted(prepared(MEGABYTES).glob("part-*.jsonl")) for line in path.open(encoding="utf-8")]
    texts = [json.loads(line)["text"] for line in lines[::EVERY]] + chinese_reviews(NUM_CHINESE)
    draw.shuffle(texts)
    for place in range(0, 100, 2):
        texts[place] = texts[place + 1] if place % 4 else texts[place + 1].upper()
    for place in range(100, 120, 2):
        texts[place] = f" {texts[place + 1]}\n"
    return [
        {
            "uid": str(place),
            "text": text,
            "n": place * 7919 % 101 - 20,
            "lang": LANGUAGES[place % 7 % 4],
            "score": place * 31 % 997 / 10,
            "meta": {"a": place % 5, "b": "x" if place % 3 else "y"},
        }
        for place, text in enumerate(texts)
    ]


def cases(folder: Path) -> list[Case]:
    """All of them; those with lists of words get the folder where both look for them."""
    (folder / "stopwords.json").write_text(json.dumps({"en": sorted(ENGLISH)}))
    (folder / "flagged_words.json").write_text(json.dumps({"en": sorted(FLAGGED | {"kill", "drugs", "hell", "damn", "weapon"})}))
    lists = {"stopwords_filter": {"stopwords_dir": str(folder)}, "flagged_words_filter": {"flagged_words_dir": str(folder)}}
    return [(name, given | lists.get(name, {})) for name, given in [*FILTERS, *MAPPERS]]


def ours(source: Path, asked: Sequence[Case], home: Path) -> list[dict[str, Any]]:
    """As the rival tells it."""
    load()
    settings = Settings.from_env(home=home)
    datasets = Datasets(settings, Library.open(settings).database)
    found = []
    for name, given in asked:
        recipe = Recipe.build({"project_name": "operators", "dataset_path": str(source), "process": [{name: dict(given)}]})
        version = Run(recipe=recipe.model_copy(update={"executor": "inline"}), datasets=datasets).execute()
        rows = version.scan().select("uid", "text").collect()
        texts = dict(zip(rows.get_column("uid").to_list(), rows.get_column("text").to_list(), strict=True))
        found.append({"texts": texts, "kept": list(texts), "steps": [call.step for call in recipe.process]})
    return found


def compared(case: Case, mine: dict[str, Any], theirs: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """same: share of documents. of_longer: of those that have as many words between spaces as the operator looks at together."""
    name, given = case
    shown = {key: value for key, value in given.items() if not key.endswith("_dir")}
    told: dict[str, Any] = {"operator": name, "arguments": shown, "step": "+".join(mine["steps"])}
    if "error" in theirs:
        return told | {"error": theirs["error"]}
    if "texts" in theirs:  # a row that is dropped here is an empty text there
        before = {row["uid"]: row["text"] for row in rows}
        other = {uid for uid, text in theirs["texts"].items() if mine["texts"].get(uid, "") != text}
        return told | {
            "changed": sum(text != before[uid] for uid, text in theirs["texts"].items()), "same": 1 - len(other) / len(rows),
        }  # fmt: skip
    other = set(mine["kept"]) ^ set(theirs["kept"])
    told |= {"kept": len(mine["kept"]), "kept_there": len(theirs["kept"]), "same": 1 - len(other) / len(rows)}
    if name == "document_minhash_deduplicator":
        window = given.get("window_size", 5)
        longer = {row["uid"] for row in rows if sum(map(bool, row["text"].split(" "))) >= window}
        told["of_longer"] = 1 - len(other & longer) / len(longer)
    return told


def main() -> None:
    python = os.environ.get("JUICER_PYTHON", "")
    if not python:
        print(
            "JUICER_PYTHON is not set, so there is nothing to compare; the first lines of this file say how to make its environment."
        )
        return
    rows = documents()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asked = cases(folder)
        (folder / "documents.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        (folder / "cases.json").write_text(json.dumps(asked))
        names = [str(folder / name) for name in ("documents.jsonl", "cases.json", "result.json")]
        subprocess.run([python, str(RIVAL), *names], check=True, stdout=sys.stderr)
        theirs = json.loads((folder / "result.json").read_text())
        mine = ours(folder / "documents.jsonl", asked, folder / "home")
    found = [compared(*one, rows) for one in zip(asked, mine, theirs, strict=True)]
    print_table(
        ["operator", "arguments", "step", "same", ""],
        [
            [one["operator"], json.dumps(one["arguments"]), one["step"], f"{one['same']:.2%}" if "same" in one else "-",
             one.get("error", "") or (f"{one['of_longer']:.2%} of longer texts" if "of_longer" in one else "")]
            for one in found
        ],
    )  # fmt: skip
    num_chinese, num_copies = NUM_CHINESE, 60
    finish("juicer_operators", {"documents": len(rows), "chinese": num_chinese, "copies": num_copies, "cases": found})


if __name__ == "__main__":
    main()
