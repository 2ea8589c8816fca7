"""Data sets through the SDK: one suite, in process and over HTTP."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos import LLMOS, AsyncLLMOS, errors
from llmos.data.recipe import Recipe
from llmos.sdk.data import Dataset

ROWS: list[dict[str, Any]] = [{"text": f"A text that is long enough {number}", "n": number} for number in range(30)]
ROWS += [{"text": "short", "n": 30}, {"text": ROWS[0]["text"], "n": 31}, {"n": 32}]


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def llmos(request: pytest.FixtureRequest, home: Path) -> Iterator[LLMOS]:
    url = None if request.param == "in process" else request.getfixturevalue("live_server")
    with LLMOS(url, home=home, notify=lambda _: None) as made:
        yield made


def recipe(**more: Any) -> dict[str, Any]:
    process = [{"text_length": {"min_chars": 10}}, "exact_dedup"]
    return {"name": f"d{secrets.token_hex(4)}", "sources": [{"rows": ROWS}], "process": process} | more


@pytest.fixture(scope="module")
def dataset(llmos: LLMOS) -> Dataset:
    return llmos.data.run(recipe())


def test_a_run_and_its_rows(llmos: LLMOS, dataset: Dataset) -> None:
    assert (dataset.num_rows, dataset.info["read"], dataset.info["errors"]) == (30, 33, 1)
    assert repr(dataset) == f"Dataset('{dataset.ref}', 30 rows)"
    assert [row["n"] for row in dataset.head(2)] == [0, 1]
    assert [row["n"] for row in dataset.rows(where="n >= 28")] == [28, 29]
    assert dataset.ref in [one.ref for one in llmos.data.list()]
    assert llmos.data.get(dataset.name).info == dataset.info
    assert dataset.show()["columns"]["n"] == "Int64"
    with pytest.raises(errors.NotFound, match="nothing"):
        llmos.data.get("nothing")
    with pytest.raises(errors.InvalidValue, match="no column"):
        dataset.head(where="m > 3")


def test_overrides_and_recipes_of_every_kind(llmos: LLMOS, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(Recipe.build(recipe()).model_dump_json())
    other = llmos.data.run(path, "process.text_length.min_chars=1", name=dataset.name)
    assert (other.name, other.num_rows) == (dataset.name, 31)
    assert [one.ref for one in llmos.data.list(dataset.name)] == [other.ref, dataset.ref]
    told = dataset.diff(other)
    assert (told["only_a"]["rows"], told["only_b"]["rows"], told["same"]) == (0, 1, 30)
    assert llmos.data.diff(dataset.ref, other.ref)["only_b"]["reasons"][0]["signal"] == "chars"
    again = llmos.data.run(Recipe.build(recipe(name=dataset.name)))
    assert again.version == dataset.version
    with pytest.raises(errors.InvalidValue, match="min_char"):
        llmos.data.preview(recipe(process=[{"text_length": {"min_char": 3}}]))


def test_what_happened(llmos: LLMOS, dataset: Dataset, tmp_path: Path) -> None:
    [bad] = dataset.errors()
    assert bad["_id"] == "rows#33" and bad["detail"] == "the row has no text"
    assert [line["signal"] for line in dataset.ledger(action="dropped")] == ["chars", "duplicate"]
    assert dataset.why("rows#31")["outcome"] == "dropped"
    assert llmos.data.why("rows#31", dataset.ref)["lines"][0]["value"] == 5
    assert dataset.report(tmp_path / "r.html")["rows"] == 30
    assert dataset.ref in (tmp_path / "r.html").read_text()
    found = dataset.statistics()
    assert found == llmos.data.statistics(dataset.ref)
    text, number = found["columns"]
    assert (found["rows"], text["distinct"], text["words"]["min"], number["numbers"]["max"]) == (30, 30, 7, 29)
    assert {one["relation"] for one in dataset.lineage()["ancestors"]} == {"source", "recipe"}
    told = llmos.data.preview(recipe())
    assert told["estimate"]["kept_rows"] == 30 and told["steps"][0]["num_dropped"] == 1
    [step] = llmos.data.steps("text_length")
    assert step["kind"] == "filter" and {one["param"] for one in step["params"]} == {"column", "min_chars", "max_chars"}
    dataset.verify()


def test_export_scan_remove(llmos: LLMOS, dataset: Dataset, tmp_path: Path) -> None:
    told = dataset.export(tmp_path / "out.jsonl.gz")
    assert told["rows"] == 30 and (tmp_path / "out.jsonl.gz").stat().st_size == told["bytes"]
    try:
        assert dataset.scan().collect().height == 30
    except errors.UnsupportedFeature:
        assert type(llmos._transport).__name__ == "HTTPTransport"
    gone = llmos.data.run(recipe(), "seed=1")
    gone.remove()
    with pytest.raises(errors.NotFound):
        llmos.data.get(gone.ref)


def test_a_job(llmos: LLMOS) -> None:
    job = llmos.data.submit(recipe(), "process.text_length.min_chars=1")
    assert job.wait(timeout_s=120)["rows"] == 31


def test_asynchronous(home: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncLLMOS(home=home, notify=lambda _: None) as llmos:
            made = await llmos.data.run(recipe())
            assert len(await made.head(3)) == 3 and len(await made.rows()) == 30
            assert (await made.why("rows#1"))["outcome"] == "kept"
            assert (await made.errors())[0]["_id"] == "rows#33" and len(await made.ledger(action="dropped")) == 2
            assert (await made.diff(made))["same"] == 30 and (await made.report())["rows"] == 30
            assert (await made.show())["rows"] == 30 and (await made.lineage())["ancestors"]
            await made.verify()
            await made.export(tmp_path / "x.csv")
            assert made.scan().collect().height == 30
            job = await llmos.data.submit(recipe())
            assert (await job.wait())["rows"] == 30
            assert (await llmos.data.get(made.ref)).info == made.info and await llmos.data.list()
            assert await llmos.data.steps("where") and (await llmos.data.preview(recipe()))["name"]
            assert (await llmos.data.why("rows#1"))["id"] and (await llmos.data.diff(made.ref, made.ref))["same"] == 30
            await made.remove()

    asyncio.run(use())
