"""Recipes as jobs of a real runner: what comes out, how far they say they are, and what a stranger's recipe may not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos import LLMOS
from llmos.data.base import Step, steps
from llmos.data.builtins import load
from llmos.data.jobs import BASE_BYTES, DataKind, DataParams
from llmos.errors import InvalidValue, JobFailed, NotFound
from tests.data.made import PROCESS, source
from tests.data.texts import write_jsonl


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def llmos(home: Path) -> Iterator[LLMOS]:
    with LLMOS(home=home, notify=lambda _: None) as made:
        yield made


def params(**recipe: Any) -> DataParams:
    return DataParams(recipe={"name": "job", "sources": [{"rows": [{"text": "a"}]}]} | recipe)


def test_a_recipe_as_a_job(llmos: LLMOS, tmp_path: Path) -> None:
    path = source(tmp_path)
    job = llmos.data.submit(
        {"name": "job", "sources": [{"path": str(path)}], "process": PROCESS}, "process.text_length.min_chars=20"
    )
    result = job.wait(timeout_s=120)
    assert {name: result[name] for name in ("rows", "errors")} == {"rows": 23, "errors": 1}
    made = llmos.data.get(result["dataset"])
    assert made.info["job_id"] == job.id and made.show()["sources"][0]["ref"] == "in.jsonl"
    events = list(job.events())
    assert [event.data for event in events if event.type == "artefact"] == [{"name": "dataset", "dataset": result["dataset"]}]
    progress = [event.data for event in events if event.type == "progress"]
    assert progress and progress[-1]["unit"] == "%" and "stage" in progress[-1]["message"]
    assert job.refresh().record.resources.cores >= 1


def test_a_failed_job_says_why(llmos: LLMOS) -> None:
    job = llmos.data.submit({"sources": [{"rows": [{"text": "a"}]}], "process": ["text_length", {"lowercase": {"column": "body"}}]})
    with pytest.raises(JobFailed, match="body"):
        job.wait(timeout_s=120)


@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_a_job_that_ends_early_keeps_what_it_computed(how: str, llmos: LLMOS, home: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"These are the words of the text number {number}. " * 30} for number in range(12_000)
    ]
    sources = [{"path": str(write_jsonl(tmp_path / f"{how}.jsonl", rows))}]
    recipe = {
        "name": how,
        "sources": sources,
        "process": [{"noise": {"num_copies": 2}}],
        "workers": 1,
        "read": {"slice_bytes": 500_000},
    }
    job = llmos.data.submit(recipe)
    begun = re.compile(r"part [1-9]\d* of ")
    next(event for event in job.events() if event.type == "progress" and begun.search(event.data["message"]))
    if how == "cancel":
        job.cancel()
        with pytest.raises(JobFailed):
            job.wait(timeout_s=120)
        assert not [one for one in llmos.data.list() if one.name == how]
    else:
        job.pause()
        next(event for event in job.events() if event.type == "state" and event.data.get("state") == "paused")
    kept = {path: path.stat().st_ino for path in (home / "datasets" / ".parts").glob("[0-9a-f]*/[0-9a-f]*/tally.json")}
    job = llmos.data.submit(recipe) if how == "cancel" else job.resume()
    made = llmos.data.get(job.wait(timeout_s=120)["dataset"])
    assert made.info["read"] == 12_000 and kept and all(path.stat().st_ino == inode for path, inode in kept.items())
    assert len(list((home / "datasets" / ".parts").glob("*/*/tally.json"))) > len(kept)


def test_what_it_asks_of_the_machine() -> None:
    kind = DataKind()
    asked = kind.resources(params(workers=1))
    assert asked.cores == 1 and asked.memory_bytes > BASE_BYTES
    assert kind.resources(params(process=[{"perplexity": {"model": "any"}}])).memory_bytes == 0


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"sources": [{"path": "/etc/passwd"}]}, "sources.0.path"),
        ({"sources": [{"path": "s3://bucket/key"}]}, "sources.0.path"),
        ({"sources": [{"url": "s3://bucket/key"}]}, "sources.0.url"),
        ({"sources": [{"url": "file:///etc/passwd"}]}, "sources.0.url"),
        ({"sinks": [{"path": "/tmp/out.jsonl"}]}, "sinks"),
        ({"process": [{"flagged_words_ratio": {"file": "/etc/passwd"}}]}, "flagged_words_ratio.file"),
        ({"process": [{"synonym": {"dictionary": "/usr/share"}}]}, "synonym.dictionary"),
        ({"process": [{"linear_classifier": {"model": "m.safetensors"}}]}, "linear_classifier.model"),
        ({"process": [{"num_tokens": {"tokenizer": "/home/a/tokenizer.json"}}]}, "num_tokens.tokenizer"),
        ({"process": [{"num_tokens": {"tokenizer": "file:/home/a"}}]}, "num_tokens.tokenizer"),
        ({"process": [{"perplexity": {"model": "file:/home/a"}}]}, "perplexity.model"),
        ({"process": [{"decontaminate": {"against": [{"path": "/etc/passwd"}]}}]}, "decontaminate.path"),
    ],
)
def test_a_stranger_reads_and_writes_no_disk(recipe: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as problem:
        DataKind().check_remote(params(**recipe))
    assert str(problem.value.param).endswith(field)


def test_a_stranger_may_use_what_is_his() -> None:
    sources = [{"dataset": "mails"}, {"file": "file-1"}, {"url": "https://example.org/a.jsonl"}, {"rows": [{"text": "a"}]}]
    sources += [{"path": "get:humaneval"}]
    process = [{"num_tokens": {"tokenizer": "gpt2"}}, {"decontaminate": {"against": [{"dataset": "test"}]}}]
    DataKind().check_remote(params(sources=sources, process=process))


def test_wrong_recipes_are_refused_when_they_are_submitted(llmos: LLMOS) -> None:
    with pytest.raises(NotFound, match="text_lenght"):
        llmos.jobs.submit("data", {"recipe": {"sources": [{"rows": []}], "process": ["text_lenght"]}})
    with pytest.raises(InvalidValue, match="sources"):
        llmos.jobs.submit("data", {"recipe": {"name": "x"}})


def test_every_parameter_that_names_a_file_is_known() -> None:
    """A step whose parameter says that it is a file must say so in `disk`."""
    load()
    words = ("a file", "path of", "a folder", "wordnet")

    def names_disk(cls: type[Step]) -> set[str]:
        found = {name: (field.description or "").lower() for name, field in cls.Config.model_fields.items()}
        return {
            name for name, text in found.items() if name not in ("sha256", "against", "field") and any(one in text for one in words)
        }

    assert {name: names_disk(cls) - set(cls.disk) for name, cls in steps if names_disk(cls) - set(cls.disk)} == {}
