"""Who computes what: small work beside large does not slow it, an end is an end, and workers may die at any time."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llmos.data.executors.local import Inline, Processes
from llmos.data.recipe import Recipe
from llmos.data.run import AUTO_PROCESSES_BYTES, Reach, Run
from llmos.errors import Cancelled
from tests.data.made import store
from tests.data.texts import write_jsonl

ROWS: list[dict[str, object]] = [{"text": f"the words of the text number {number}"} for number in range(3000)]


def asked(path: Path, **more: Any) -> Recipe:
    return Recipe.build({"name": "made", "sources": [{"path": str(path)}], "process": ["lowercase"], "workers": 2} | more)


def test_a_small_set_to_compare_with_does_not_decide_for_the_run(tmp_path: Path) -> None:
    run = Run(recipe=asked(tmp_path), datasets=store(tmp_path))
    with ExitStack() as closing:
        assert isinstance(run._executor(1, 1000, closing), Inline)
        large = run._executor(8, AUTO_PROCESSES_BYTES, closing)
        assert isinstance(large, Processes) and run._executor(8, AUTO_PROCESSES_BYTES, closing) is large


class Stopping:
    """Ends the run with the first part."""

    parts = 0

    def step(self) -> None:
        if self.parts:
            raise Cancelled("enough")

    def report(self, reach: Reach) -> None:
        self.parts = reach.parts


def test_threads_end_within_a_batch(tmp_path: Path) -> None:
    small, large = write_jsonl(tmp_path / "0.jsonl", ROWS[:1]), write_jsonl(tmp_path / "1.jsonl", ROWS * 5)
    datasets, sources = store(tmp_path), [{"path": str(small)}, {"path": str(large)}]
    recipe = asked(tmp_path, executor="threads", read={"batch_bytes": 300}, process=["gopher_repetition"], sources=sources)
    with pytest.raises(Cancelled, match="enough"):
        Run(recipe=recipe, datasets=datasets, control=Stopping()).execute()
    shelves = [one for one in datasets.parts.iterdir() if one.is_dir()]
    parts = [part.name for shelf in shelves for part in shelf.iterdir()]
    assert len(parts) == 1 and not parts[0].startswith("."), "the long part was given up, the short one is there"


def test_workers_that_die_between_stages_are_replaced(tmp_path: Path) -> None:
    class Killer:
        """Once all parts of the first stage are there, so that nobody computes."""

        killed = 0

        def step(self) -> None:
            """Goes on."""

        def report(self, reach: Reach) -> None:
            if reach.stage == 1 and reach.parts == reach.num_parts and not self.killed:
                for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                    self.killed += 1

    path = write_jsonl(tmp_path / "in.jsonl", ROWS)
    recipe = asked(path, executor="processes", process=["exact_dedup", "lowercase"], read={"slice_bytes": 40_000})
    killer = Killer()
    made = Run(recipe=recipe, datasets=store(tmp_path / "a"), control=killer).execute()
    plain = Run(recipe=recipe.model_copy(update={"executor": "inline"}), datasets=store(tmp_path / "b")).execute()
    assert killer.killed >= 2 and made.version == plain.version


def test_kept_parts_make_the_version_that_a_new_run_makes(tmp_path: Path) -> None:
    """Row groups are batches, so parts of another batch size are not the same bytes."""
    path = write_jsonl(tmp_path / "in.jsonl", ROWS)
    datasets = store(tmp_path / "a")
    Run(recipe=asked(path, read={"batch_bytes": 5000}), datasets=datasets).execute()
    again = Run(recipe=asked(path), datasets=datasets).execute()
    assert again.version == Run(recipe=asked(path), datasets=store(tmp_path / "b")).execute().version
