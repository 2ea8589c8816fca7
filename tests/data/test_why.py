"""Why a row is, or is not, in a version: all that happened to it, in order, and its text before and after each step."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.data.store import Datasets, Version
from llmos.data.why import find_version, sentences, why
from llmos.errors import NotFound
from tests.data.made import LONG, made, recipe, source, store


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("why")


@pytest.fixture(scope="module")
def datasets(home: Path) -> Datasets:
    return store(home)


@pytest.fixture(scope="module")
def version(home: Path, datasets: Datasets) -> Version:
    return made(datasets, source(home))


def test_a_kept_row(version: Version, datasets: Datasets) -> None:
    told = why(version, "in.jsonl#3", datasets)
    assert (told["outcome"], told["lines"], told["before"], told["made"]) == ("kept", [], [], [])
    assert told["row"]["text"] == f"{LONG} 3."
    assert [step["step"] for step in told["replay"]["steps"]] == ["0:normalise_whitespace", "1:text_length", "2:exact_dedup"]
    assert told["replay"]["note"] == ""


def test_a_changed_row_shows_its_text_before_and_after(version: Version, datasets: Datasets) -> None:
    told = why(version, "in.jsonl#21", datasets)
    assert told["outcome"] == "changed"
    assert [(line["step"], line["signal"], line["value"]) for line in told["lines"]] == [("0:normalise_whitespace", "chars", -3.0)]
    assert told["replay"]["steps"][0]["changed"] == {"text": {"before": f"{LONG}   21. ", "after": f"{LONG} 21."}}


def test_a_dropped_row_shows_signal_value_threshold(version: Version, datasets: Datasets) -> None:
    told = why(version, "in.jsonl#22", datasets)
    assert told["outcome"] == "dropped" and told["row"] == {"_id": "in.jsonl#22", "text": "short", "n": 22}
    assert sentences(told) == ["in.jsonl#22  1:text_length  dropped: chars = 5, the limit is 30"]
    assert told["replay"]["steps"][-1]["lines"][0]["signal"] == "chars"


def test_a_duplicate_and_a_broken_line(version: Version, datasets: Datasets) -> None:
    twice = why(version, "in.jsonl#23", datasets)
    assert twice["outcome"] == "dropped" and twice["lines"][-1]["signal"] == "duplicate"
    assert twice["replay"]["steps"][-1]["step"] == "2:exact_dedup"
    broken = why(version, "in.jsonl#25", datasets)
    assert broken["outcome"] == "error" and broken["row"] == '{"text": <script>'
    assert broken["replay"]["row"] is None and "not there any more" in broken["replay"]["note"]


def test_unknown_rows_say_how_ids_look(version: Version, datasets: Datasets) -> None:
    with pytest.raises(NotFound, match=r"in\.jsonl#99") as problem:
        why(version, "in.jsonl#99", datasets)
    assert "in.jsonl#1" in problem.value.hint
    with pytest.raises(NotFound, match="other#1"):
        find_version("other#1", datasets)
    assert find_version("in.jsonl#22", datasets).version == version.version


def test_the_story_begins_in_the_version_it_was_made_of(version: Version, datasets: Datasets, home: Path) -> None:
    later = made(
        datasets, home, ["lowercase", {"text_length": {"max_chars": 60}}], name="later", sources=[{"dataset": version.ref}]
    )
    told = why(later, "in.jsonl#21", datasets)
    assert [line["step"] for line in told["lines"]] == ["0:lowercase", "1:text_length"]
    assert told["before"][0]["dataset"] == version.ref and told["before"][0]["outcome"] == "changed"
    assert told["replay"]["row"]["text"] == f"{LONG} 21."
    assert sentences(told)[0] == f"In {version.ref}:"


def test_a_row_that_became_several(home: Path, datasets: Datasets) -> None:
    chunked = made(datasets, source(home), [{"chunk": {"max_len": 30}}], name="chunked")
    told = why(chunked, "in.jsonl#1", datasets)
    assert told["outcome"] == "expanded" and told["made"][:2] == ["in.jsonl#1.0", "in.jsonl#1.1"]
    one = why(chunked, "in.jsonl#1.1", datasets)
    assert one["outcome"] == "kept" and one["lines"][0]["_id"] == "in.jsonl#1"


def test_nothing_is_replayed_on_another_file(tmp_path: Path) -> None:
    datasets, path = store(tmp_path), source(tmp_path / "in")
    version = made(datasets, path)
    path.write_text(path.read_text().replace("short", "other"))
    told = why(version, "in.jsonl#22", datasets)
    assert told["replay"]["steps"] == [] and "has changed" in told["replay"]["note"]
    assert recipe(path).name == version.name
