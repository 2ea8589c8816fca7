"""Recipes of Data-Juicer: what they become, what is told, what is refused, and that they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import llmos.data.steps.all  # noqa: F401 - registers them
from llmos.data.base import steps
from llmos.data.juicer import is_juicer
from llmos.data.juicer_operators import best_bands, operators
from llmos.data.recipe import Recipe
from llmos.errors import InvalidValue
from llmos.plugins import load_plugins
from tests.data.running import run
from tests.data.texts import documents, write_jsonl

MAILS = """
project_name: My Mails
dataset:
  configs:
    - {type: local, path: a.jsonl, weight: 0.5}
    - {type: local, path: b.jsonl}
text_keys: [body, subject]
np: 3
executor_type: default
export_path: out/clean.jsonl
use_cache: false
open_tracer: true
op_fusion: false
keep_stats_in_res_ds: true
process:
  - clean_html_mapper:
  - words_num_filter: {lang: en, tokenization: false, min_num: 20, max_num: 9223372036854775807, num_proc: 4}
  - special_characters_filter: {text_key: subject, max_ratio: 0.3, max_closed_interval: false}
  - maximum_line_length_filter: {min_len: 5.5, max_len: 80, max_closed_interval: false}
  - language_id_score_filter: {lang: zh}
  - general_field_filter: {filter_condition: "n > 3"}
  - topk_specified_field_selector: {field_key: meta.score, top_ratio: 0.2, topk: 100}
"""


def build(process: list[Any], **more: Any) -> Recipe:
    return Recipe.build({"dataset_path": "a.jsonl", "process": process} | more)


def calls(process: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.step, call.params) for call in build(process).process]


def test_a_recipe_becomes_one_of_llmos() -> None:
    recipe = Recipe.parse(MAILS)
    assert recipe.name == "my-mails" and recipe.workers == 3 and recipe.text_column == "body" and recipe.keep_signals
    assert [source.path for source in recipe.sources] == ["a.jsonl", "b.jsonl"]
    assert [(sink.path, sink.format) for sink in recipe.sinks] == [("out/clean.jsonl", "auto")]
    made = [(call.step, call.params) for call in recipe.process]
    assert made[0] == ("strip_html", {"blocks": False, "scripts": True})
    assert made[1] == ("num_words", {"min_words": 20, "max_words": None})
    assert made[2] == (
        "special_characters_ratio",
        {"min_ratio": 0.0, "max_ratio": float(np.nextafter(0.3, 0)), "column": "subject"},
    )
    assert made[3] == ("maximum_line_length", {"min_chars": 6, "max_chars": 79})
    assert made[4] == ("language_is", {"languages": ["zh"], "min_score": 0.8, "lowercase": True})
    assert made[5] == ("where", {"expression": "n > 3"})
    assert made[6] == ("top_by_field", {"field": "meta.score", "num": 100, "share": 0.2, "highest": True})


def test_what_is_left_out_or_differs_is_told_and_does_not_change_what_the_recipe_means() -> None:
    recipe = Recipe.parse(MAILS)
    told = "\n".join(recipe.notices)
    for part in ("op_fusion, open_tracer, use_cache", "'my-mails'", "num_proc", "lid.176", "Of text_keys the first one, body"):
        assert part in told
    assert recipe.model_copy(update={"notices": ()}).digest == recipe.digest


def test_every_operator_leads_to_a_step_whose_parameters_exist() -> None:
    load_plugins()
    given: dict[str, dict[str, Any]] = {
        "general_field_filter": {"filter_condition": "n > 1"},
        "replace_content_mapper": {"pattern": "a"},
        "specified_field_filter": {"field_key": "a", "target_value": [1]},
        "specified_numeric_field_filter": {"field_key": "a"},
        "tags_specified_field_selector": {"field_key": "a", "target_tags": ["x"]},
        "topk_specified_field_selector": {"field_key": "a", "topk": 1},
        "frequency_specified_field_selector": {"field_key": "a", "topk": 1},
        "range_specified_field_selector": {"field_key": "a", "lower_rank": 1, "upper_rank": 2},
        "random_selector": {"select_num": 3},
    }
    for name in operators:
        made = calls([{name: given.get(name, {})}])
        assert made, name
        for step, params in made:
            steps.get(step).Config.model_validate(params)


def test_choosing_by_nothing_keeps_every_row_as_there() -> None:
    recipe = build(["topk_specified_field_selector", {"specified_field_filter": {"field_key": "a"}}, "general_field_filter"])
    assert recipe.process == () and len(recipe.notices) == 3


def test_lists_of_words_come_from_the_folder_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "my_stopwords.json").write_text('{"en": ["the"]}')
    ((step, params),) = calls([{"stopwords_filter": {"stopwords_dir": str(tmp_path)}}])
    assert (step, params["file"]) == ("stopwords_ratio", str(tmp_path / "my_stopwords.json"))
    with pytest.raises(InvalidValue, match="has 0 files"):
        build([{"flagged_words_filter": {"flagged_words_dir": str(tmp_path)}}])
    assert "Give flagged_words_dir" in build(["flagged_words_filter"]).notices[0]


@pytest.mark.parametrize(
    ("process", "more", "message"),
    [
        (["perplexity_filter"], {}, "operator perplexity_filter of Data-Juicer is not supported"),
        (["word_num_filter"], {}, "Did you mean words_num_filter"),
        ([{"words_num_filter": {"min_nun": 3}}], {}, "no argument min_nun. Did you mean min_num"),
        ([{"words_num_filter": {"tokenization": True}}], {}, "process.0.words_num_filter.tokenization: True is not supported"),
        ([{"words_num_filter": {"reversed_range": True}}], {}, "reversed_range: True is not supported"),
        ([{"words_num_filter": {"min_num": "many"}}], {}, "a number is wanted, not 'many'"),
        ([{"general_field_filter": {"filter_condition": "__dj__stats__.text_len > 3"}}], {}, "stats of other operators"),
        ([{"remove_repeat_sentences_mapper": {"tokenizer": "lambda text: [text]"}}], {}, "a recipe runs no code"),
        ([], {"proces": 1}, "proces is no key"),
        ([], {"custom_operator_paths": ["ops.py"]}, "custom_operator_paths: operators of one's own"),
        ([], {"executor_type": "spark"}, "executor_type 'spark' is not known"),
        ([], {"export_path": "a.webdataset", "export_type": "webdataset"}, "export_type 'webdataset' is not written"),
        ([], {"text_keys": "a.b"}, "a column is wanted"),
        ([], {"dataset": {"configs": [{"type": "remote", "path": "x"}]}}, "type 'remote' is not read"),
        ([], {"dataset": {"configs": [{"path": "x"}, {"path": "y"}], "max_sample_num": 5}}, "max_sample_num over several"),
        ([{"words_num_filter": [1]}], {}, "not of the form"),
    ],
)
def test_what_would_be_another_recipe_is_refused(process: list[Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        build(process, **more)


def test_weights_suffixes_and_samples() -> None:
    weighed = build([], dataset_path="0.3 a.jsonl 0.7 'b c.jsonl'")
    assert [source.path for source in weighed.sources] == ["a.jsonl", "b c.jsonl"] and "Weights" in weighed.notices[0]
    assert [source.path for source in build([], suffixes=[".txt", "md"]).sources] == ["a.jsonl/**/*.txt", "a.jsonl/**/*.md"]
    sampled = build([], dataset={"configs": [{"path": "a"}], "max_sample_num": 7})
    assert [(call.step, call.params) for call in sampled.process] == [("sample", {"rows": 7})]


def test_own_recipes_are_not_taken_for_theirs() -> None:
    assert not is_juicer({"sources": [{"path": "a"}], "process": ["num_words"]})
    assert not is_juicer({"name": "x", "process": ["num_words"]})
    assert is_juicer({"process": [{"words_num_filter": None}]})


def test_bands_are_those_of_the_optimum() -> None:
    assert best_bands(0.7, 256) == (25, 10)  # what Data-Juicer 1.6.1 logs for its defaults
    assert best_bands(0.9, 64) == (3, 21)


def test_limits_and_words_decide_as_there(tmp_path: Path) -> None:
    texts = ["one two", "one 2 three", "one - two three!", "a\u00a0b c d"]
    process = [{"words_num_filter": {"min_num": 3}}]
    version = run(tmp_path, [{"text": text} for text in texts], [step.model_dump() for step in build(process).process])
    assert version.scan().collect().get_column("text").to_list() == [texts[2], texts[3]]


def test_short_texts_are_duplicates_of_each_other_as_there(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("one two", "three", "four words are here", "a text of more than five words", "")]
    recipe = build(["document_minhash_deduplicator"])
    version = run(tmp_path, rows, [step.model_dump() for step in recipe.process])
    assert version.scan().collect().get_column("_id").to_list() == ["rows#1", "rows#4"]
    assert "texts of fewer than 5 words are duplicates of each other" in recipe.notices[0]


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((ROOT / "recipes" / "data").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_example_recipes_run_on_real_text(file: Path, tmp_path: Path) -> None:
    texts = [page.read_text() for page in (ROOT / "docs" / "zh").glob("*.md")] if file.stem == "chinese" else documents()[:300]
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text, "path": "a.py"} for text in [*texts, texts[0]]])
    key = "dataset_path" if is_juicer(yaml.safe_load(file.read_text())) else "sources.0.path"
    recipe = Recipe.load(file, [f"{key}={source}"])
    process = [
        call.model_dump() for call in recipe.process if call.step != "language_is"
    ]  # its model is tested where it is fetched
    version = run(tmp_path / "home", [], process, sources=[{"path": str(source)}], text_column=recipe.text_column)
    assert 0 < version.num_rows <= len(texts)
