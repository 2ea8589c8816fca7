"""Whole runs: every executor gives the same bytes, what was computed is found again, kills lose nothing, bad rows end in the ledger."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmos.data.recipe import Recipe
from llmos.data.run import Reach, Run, SharesMissing
from llmos.data.store import Datasets, Version
from llmos.errors import Cancelled, InvalidValue, NotFound
from llmos.library.library import Library
from llmos.settings import Settings
from tests.data.running import run
from tests.data.texts import documents, write_jsonl

PROCESS: list[Any] = [
    "normalise_whitespace",
    {"text_length": {"min_chars": 250}},
    {"gopher_repetition": {"max_lines": 0.5}},
    {"minhash_dedup": {"threshold": 0.6}},
    {"text_length": {"max_chars": 3500}},
    "exact_dedup",
]
SMALL = {"slice_bytes": 60_000, "batch_bytes": 9_000}


def rows() -> list[dict[str, object]]:
    """Real texts, some twice, some nearly twice."""
    draw = random.Random(7)
    texts = documents()
    found: list[dict[str, object]] = [{"text": text, "n": number} for number, text in enumerate(texts)]
    for number in draw.sample(range(len(texts)), 120):
        words = texts[number].split(" ")
        if number % 3:
            words[draw.randrange(len(words))] = "changed"
        found.append({"text": " ".join(words), "n": 10_000 + number})
    draw.shuffle(found)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("source") / "texts.jsonl", rows())


def store(home: Path, **settings: str) -> Datasets:
    read = Settings.from_env({"LLMOS_HOME": str(home)} | settings)
    return Datasets(read, Library.open(read).database)


def recipe(source: Path, **more: Any) -> Recipe:
    return Recipe.build({"name": "texts", "sources": [{"path": str(source)}], "process": PROCESS, "read": SMALL} | more)


def hashes(version: Version) -> list[str]:
    return [file["sha256"] for file in (*version.manifest["files"], *version.manifest["ledger"])]


@pytest.fixture(scope="module")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Run(recipe=recipe(source, executor="inline"), datasets=store(tmp_path_factory.mktemp("plain"))).execute()


def test_rows_are_kept_dropped_changed_and_told(plain: Version) -> None:
    tally, num = plain.manifest["tally"], len(rows())
    dropped = plain.ledger().filter(pl.col("action") == "dropped").collect()
    assert tally["read"] == num
    assert plain.num_rows + dropped.height == num
    assert set(dropped["signal"]) >= {"chars", "near_duplicate"}
    kept, gone = set(plain.scan().collect()["_id"]), set(dropped["_id"])
    assert kept | gone == {f"texts.jsonl#{number}" for number in range(1, num + 1)}
    near = dropped.filter(pl.col("signal") == "near_duplicate")
    assert near.height > 60 and set(near["threshold"]) == {0.6}
    assert (near["value"] >= 0.6).sum() >= 0.95 * near.height, (
        "fewer than one in twenty is held against one it is like only by others"
    )
    assert set(near["other"]) <= kept | gone
    assert json.loads(near["row"][0])["_id"] == near["_id"][0]
    short = dropped.filter(pl.col("signal") == "chars", pl.col("step") == "1:text_length")
    assert (short["value"] < 250).all() and set(short["threshold"]) == {250.0}


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_every_executor_gives_the_same_bytes(executor: str, source: Path, plain: Version, tmp_path: Path) -> None:
    made = Run(recipe=recipe(source, executor=executor, workers=3), datasets=store(tmp_path)).execute()
    assert hashes(made) == hashes(plain)
    assert made.version == plain.version


def test_batches_may_be_cut_anywhere(source: Path, plain: Version, tmp_path: Path) -> None:
    made = Run(recipe=recipe(source, read={"slice_bytes": 200_000, "batch_bytes": 3_000}), datasets=store(tmp_path)).execute()
    assert made.scan().collect().equals(plain.scan().collect())
    order = ["_id", "step", "signal"]
    assert made.ledger().collect().sort(order).equals(plain.ledger().collect().sort(order))


def test_shares_of_a_job_array_make_the_same_version(source: Path, plain: Version, tmp_path: Path) -> None:
    datasets, asked, waits = store(tmp_path), recipe(source, executor="inline"), 0
    for _ in range(3):  # stage by stage: each round of shares finishes one
        for share in (1, 2, 3):
            try:
                made = Run(recipe=asked, datasets=datasets, share=(share, 3)).execute()
            except SharesMissing:
                waits += 1
            else:
                assert made.version == plain.version
    final = Run(recipe=asked, datasets=datasets)
    assert final.execute().version == plain.version
    assert waits and final.num_computed == 0


def test_only_what_changed_is_computed_again(source: Path, tmp_path: Path) -> None:
    datasets = store(tmp_path / "home")
    grown = tmp_path / "grown"
    grown.mkdir()
    (grown / "a.jsonl").write_bytes(source.read_bytes())
    asked = recipe(grown, process=["normalise_whitespace", {"text_length": {"min_chars": 300}}])
    first = Run(recipe=asked, datasets=datasets)
    one = first.execute()
    write_jsonl(grown / "b.jsonl", rows()[:50])
    second = Run(recipe=asked, datasets=datasets)
    two = second.execute()
    assert first.num_computed > 3 and second.num_computed == 1
    assert two.num_rows > one.num_rows and two.version != one.version
    again = Run(recipe=asked, datasets=datasets)
    assert again.execute().version == two.version and again.num_computed == 0


def test_a_run_that_is_stopped_goes_on_where_it_was(source: Path, plain: Version, tmp_path: Path) -> None:
    class Impatient:
        def __init__(self) -> None:
            self.parts = 0

        def step(self) -> None:
            if self.parts >= 4:
                raise Cancelled("enough")

        def report(self, reach: Reach) -> None:
            self.parts = max(self.parts, reach.parts)

    datasets, asked = store(tmp_path), recipe(source, executor="inline")
    with pytest.raises(Cancelled):
        Run(recipe=asked, datasets=datasets, control=Impatient()).execute()
    assert datasets.list() == []
    rest = Run(recipe=asked, datasets=datasets)
    assert rest.execute().version == plain.version
    whole = Run(recipe=asked, datasets=store(tmp_path / "other"))
    whole.execute()
    assert rest.num_computed == whole.num_computed - 4


_PROGRAM = """
import sys
from pathlib import Path
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets
from llmos.library.library import Library
from llmos.settings import Settings
settings = Settings.from_env({"LLMOS_HOME": sys.argv[1]})
version = Run(recipe=Recipe.load(sys.argv[2]), datasets=Datasets(settings, Library.open(settings).database)).execute()
print(version.version)
"""


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_killed_run_ends_with_the_same_version(executor: str, source: Path, plain: Version, tmp_path: Path) -> None:
    """SIGKILL at random moments, until one run is quick enough; no process of it is left."""
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe(source, executor=executor, workers=2).model_dump(mode="json")))
    draw, kills = random.Random(20261122), 0
    while True:
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "home"), str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as program:
            try:
                said, _ = program.communicate(timeout=draw.uniform(0.6, 1.5) + kills * 0.35)
            except subprocess.TimeoutExpired:
                program.kill()
                kills += 1
                continue
            assert program.returncode == 0
        break
    assert kills >= 2, "it was never killed"
    assert said.strip() == plain.version
    assert not [
        one
        for one in (tmp_path / "home" / "datasets" / "texts").iterdir()
        if not one.name.startswith(".") and one.name != plain.version
    ]
    end = time.monotonic() + 20
    while _running(str(tmp_path / "home")) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _running(str(tmp_path / "home"))


def _running(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_a_worker_that_dies_is_replaced(source: Path, plain: Version, tmp_path: Path) -> None:
    class Killer:
        killed = 0

        def step(self) -> None:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            if children and not self.killed:
                os.kill(int(children[-1]), signal.SIGKILL)
                self.killed += 1

        def report(self, reach: Reach) -> None:
            """Says nothing."""

    killer = Killer()
    made = Run(recipe=recipe(source, executor="processes", workers=2), datasets=store(tmp_path), control=killer).execute()
    assert killer.killed == 1 and made.version == plain.version


def test_bad_input_ends_in_the_ledger_with_its_line(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"a good line number {number}", "n": number}).encode() for number in range(200)]
    bad = {
        11: b'{"text": "cut off',
        23: b"[1, 2]",
        37: b'{"text": 5, "n": 1}',
        41: '{"text": "caf\u00e9", "n": 1}'.encode("latin-1"),
        59: b'{"text": "' + b"x" * 100_000_000 + b'", "n": 1}',
        83: b'{"n": 3}',
        97: b"",
    }
    lines = [bad.get(number, good[number]) for number in range(200)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mixed.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "in" / "empty.jsonl").touch()
    made = run(
        tmp_path / "home", [], [{"text_length": {"min_chars": 1}}], sources=[{"path": str(tmp_path / "in")}],
        read={"batch_bytes": 2_000},
    )  # fmt: skip
    errors = made.ledger().filter(pl.col("action") == "error").collect()
    assert [int(one.partition("#")[2]) for one in errors["_id"]] == [12, 24, 38, 42, 60, 84]
    assert made.num_rows == 200 - len(bad)
    assert made.manifest["tally"]["errors"] == 6
    told = dict(zip([int(one.partition("#")[2]) for one in errors["_id"]], errors["detail"], strict=True))
    assert "text" in told[38] and "utf-8" in told[42].lower() and "max_row_bytes" in told[60] and "no text" in told[84]


def test_wrong_recipes_say_which_field(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="text_lenght"):
        run(tmp_path, [{"text": "a"}], ["text_lenght"])
    with pytest.raises(InvalidValue, match=r"process.0.text_length.min"):
        run(tmp_path, [{"text": "a"}], [{"text_length": {"min": 3}}])
    with pytest.raises(InvalidValue, match="no column 'text'"):
        run(tmp_path, [{"body": "a"}], ["text_length"])
    with pytest.raises(InvalidValue, match="one of"):
        run(tmp_path, [], [], sources=[{"path": "a", "url": "b"}])
    with pytest.raises(NotFound, match="no file"):
        run(tmp_path, [], [], sources=[{"path": str(tmp_path / "nothing-*.jsonl")}])
    with pytest.raises(InvalidValue, match="holds"):
        run(tmp_path, [], [], sources=[{"rows": [{"a": 1}]}, {"rows": [{"a": ["x"]}]}])


def test_only_columns_that_are_named_are_taken(tmp_path: Path) -> None:
    rows = [{"text": "a", "from": "ann@example.org", "n": 1}]
    version = run(tmp_path, rows, ["lowercase"], columns=["text", "n"])
    assert version.scan().collect_schema().names() == ["_id", "text", "n", "_extra"]
    with pytest.raises(InvalidValue, match="no column 'form'"):
        run(tmp_path, rows, [], columns=["form"])
