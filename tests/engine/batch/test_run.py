"""A run asks everything once, goes on where another was stopped, and writes the answers in the order of the input."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.engine.batch.base import BatchFolder, Item, Outcome, Rules, Unattended
from llmos.engine.batch.work import Batch
from llmos.engine.borrow import ServiceGone
from llmos.errors import Cancelled, Conflict, EngineDied, OverCapacity
from llmos.types import Usage
from tests.engine.batch.inputs import CHAT, Echo, StopAfter, names, read, request, write

RULES = Rules(endpoint=CHAT)
WINDOW = 4


def lines(count: int) -> list[dict[str, object]]:
    return [
        request(f"r{number}", f"text {number}", system=f"group {number % 3}", max_tokens=number % 50 + 1) for number in range(count)
    ]


def opened(folder: Path, count: int = 100) -> Batch:
    source = folder / "in.jsonl"
    if not source.exists():
        write(source, lines(count))
    return Batch(folder / "work", source, RULES)


def finish(folder: Path, batch: Batch) -> tuple[list[str], list[str]]:
    written = batch.finish(folder / "out.jsonl", folder / "err.jsonl")
    answers, errors = read(folder / "out.jsonl"), read(folder / "err.jsonl")
    assert (len(answers), len(errors)) == (written.answers, written.errors)
    return names(answers), names(errors)


def test_every_item_is_answered_in_the_order_of_the_input(tmp_path: Path) -> None:
    echo = Echo()
    with opened(tmp_path) as batch:
        assert batch.run(echo, Unattended(), window=8) == "completed"
        assert (batch.counts.completed, batch.counts.failed, batch.counts.new) == (100, 0, 100)
        assert batch.counts.usage == Usage(prompt_tokens=200, completion_tokens=100)
        answered, failed = finish(tmp_path, batch)
    assert answered == [f"r{number}" for number in range(100)] and failed == []
    assert sorted(echo.asked) == sorted(answered) and echo.asked != answered
    first = read(tmp_path / "out.jsonl")[0]
    assert first["response"]["body"] == {"text": "text 0"} and first["response"]["status_code"] == 200
    assert first["error"] is None and first["id"].startswith("batch_req_")


def test_failed_items_go_to_the_error_file(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [request("a"), request("bad1"), request("b"), request("bad2")])
    with opened(tmp_path) as batch:
        batch.run(Echo(), Unattended())
        answered, failed = finish(tmp_path, batch)
    assert (answered, failed) == (["a", "b"], ["bad1", "bad2"])
    assert read(tmp_path / "err.jsonl")[0]["response"] == {
        "status_code": 400,
        "request_id": read(tmp_path / "err.jsonl")[0]["response"]["request_id"],
        "body": {"error": {"message": "It is bad."}},
    }


def test_the_window_bounds_what_is_in_flight(tmp_path: Path) -> None:
    echo = Echo(pause_s=0.002)
    with opened(tmp_path) as batch:
        batch.run(echo, Unattended(), window=7)
    assert echo.most == 7


def test_of_a_group_one_goes_ahead(tmp_path: Path) -> None:
    """Nobody of a group is asked before its first item has read its prompt."""

    class Slow(Echo):
        async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
            group = item.body["messages"][0]["content"]
            if warm is not None:
                await asyncio.sleep(0.02)
                assert sum(name == group for name in self.warmed) == 0
                self.warmed.append(group)
                warm()
            else:
                assert group in self.warmed
            return await super().answer(item, None)

    slow = Slow()
    with opened(tmp_path) as batch:
        batch.run(slow, Unattended())
        assert batch.counts.completed == 100
    assert sorted(slow.warmed) == ["group 0", "group 1", "group 2"]


def test_without_a_prefix_cache_nobody_waits(tmp_path: Path) -> None:
    echo = Echo()
    with opened(tmp_path) as batch:
        batch.run(echo, Unattended(), shared=False)
    assert echo.warmed == [] and len(echo.asked) == 100


@pytest.mark.parametrize("stops", [1, 3])
def test_a_stopped_run_is_gone_on_with(tmp_path: Path, stops: int) -> None:
    asked: list[str] = []
    for number in range(stops):
        echo = Echo(pause_s=0.02)
        with opened(tmp_path, 800) as batch:
            control = StopAfter((number + 1) * 20, Cancelled("Stop."))
            control.done = lambda batch=batch: batch.counts.done  # type: ignore[misc]
            with pytest.raises(Cancelled, match="Stop"):
                batch.run(echo, control, window=10)
            assert batch.counts.done >= (number + 1) * 20
        asked += echo.asked
    last = Echo()
    with opened(tmp_path) as batch:
        assert batch.run(last, Unattended()) == "completed"
        assert batch.counts.new == len(last.asked)
        answered, _ = finish(tmp_path, batch)
    assert answered == [f"r{number}" for number in range(800)]
    assert len(asked) + len(last.asked) - 800 <= 10 * stops


def test_a_torn_line_and_what_follows_it_are_asked_again(tmp_path: Path) -> None:
    with opened(tmp_path) as batch:
        batch.run(Echo(), Unattended())
    log = BatchFolder(tmp_path / "work").log
    whole = log.read_bytes()
    end = [place for place, byte in enumerate(whole) if byte == ord("\n")][59]
    log.write_bytes(whole[: end + 30])
    echo = Echo()
    with opened(tmp_path) as batch:
        assert batch.counts.done == 60
        batch.run(echo, Unattended())
        answered, _ = finish(tmp_path, batch)
    assert len(echo.asked) == 40 and len(set(answered)) == 100


@pytest.mark.parametrize("place", [3, 20, -5])
def test_a_line_with_a_wrong_byte_does_not_count(tmp_path: Path, place: int) -> None:
    with opened(tmp_path, 5) as batch:
        batch.run(Echo(), Unattended())
    log = BatchFolder(tmp_path / "work").log
    rows = log.read_bytes().splitlines(keepends=True)
    broken = bytearray(rows[3])
    broken[place] ^= 1
    log.write_bytes(b"".join([*rows[:3], bytes(broken), rows[4]]))
    with opened(tmp_path) as batch:
        assert batch.counts.done == 3
        assert log.read_bytes() == b"".join(rows[:3])


def test_errors_that_pass_are_tried_again(tmp_path: Path) -> None:
    class Flaky(Echo):
        async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
            if self.asked.count(item.custom_id) < 2:
                self.asked.append(item.custom_id)
                error = EngineDied if self.asked.count(item.custom_id) == 1 else OverCapacity
                raise error("Not now.", retry_after_s=0.001)
            return await super().answer(item, warm)

    with opened(tmp_path, 5) as batch:
        batch.run(Flaky(), Unattended())
        assert (batch.counts.completed, batch.counts.failed) == (5, 0)


def test_an_engine_that_always_dies_fails_the_item_and_not_the_run(tmp_path: Path) -> None:
    class Deadly(Echo):
        async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
            if item.custom_id == "r2":
                self.asked.append(item.custom_id)
                raise EngineDied("It died.", retry_after_s=0.001)
            return await super().answer(item, warm)

    deadly = Deadly()
    with opened(tmp_path, 5) as batch:
        assert batch.run(deadly, Unattended()) == "completed"
        answered, failed = finish(tmp_path, batch)
    assert failed == ["r2"] and len(answered) == 4 and deadly.asked.count("r2") == 4


def test_an_unforeseen_exception_is_the_answer_of_its_item(tmp_path: Path) -> None:
    class Broken(Echo):
        async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
            if item.custom_id == "r1":
                raise ZeroDivisionError
            return await super().answer(item, warm)

    with opened(tmp_path, 3) as batch:
        batch.run(Broken(), Unattended())
        assert finish(tmp_path, batch) == (["r0", "r2"], ["r1"])


def test_a_server_that_has_gone_ends_the_run(tmp_path: Path) -> None:
    class Lost(Echo):
        async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
            if len(self.asked) >= 30:
                raise ServiceGone("Gone.")
            return await super().answer(item, warm)

    with opened(tmp_path) as batch:
        with pytest.raises(ServiceGone):
            batch.run(Lost(), Unattended(), window=4)
        assert 26 <= batch.counts.done <= 30
    with opened(tmp_path) as batch:
        batch.run(Echo(), Unattended())
        assert len(finish(tmp_path, batch)[0]) == 100


def test_when_its_time_is_over_the_rest_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as batch:
        assert batch.run(Echo(pause_s=0.05), Unattended(), window=2, until=time.time() + 0.4) == "expired"
        done = batch.counts.done
        written = batch.finish(tmp_path / "out.jsonl", tmp_path / "err.jsonl", "expired")
    assert 0 < done < 100 and (written.answers, written.unanswered) == (done, 100 - done)
    rest = read(tmp_path / "err.jsonl")
    assert {line["error"]["code"] for line in rest} == {"batch_expired"} and all(line["response"] is None for line in rest)
    both = names(read(tmp_path / "out.jsonl")) + names(rest)
    assert sorted(both) == sorted(f"r{number}" for number in range(100))


def test_finishing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    with opened(tmp_path) as batch:
        batch.run(Echo(), Unattended())
        finish(tmp_path, batch)
        first = (tmp_path / "out.jsonl").read_bytes()
    with opened(tmp_path) as batch:
        finish(tmp_path, batch)
    assert (tmp_path / "out.jsonl").read_bytes() == first


def test_one_process_at_a_time_has_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(Conflict, match="Another process"):
        opened(tmp_path)


def test_other_options_are_a_conflict(tmp_path: Path) -> None:
    opened(tmp_path, 3).close()
    other = Rules(endpoint=CHAT, model="other")
    with Batch(tmp_path / "work", tmp_path / "in.jsonl", other) as batch:  # nothing was answered yet: they may change
        assert batch.plan.model == "other"
        batch.run(Echo(), Unattended())
    with pytest.raises(Conflict, match="other options"):
        opened(tmp_path)
    write(tmp_path / "in.jsonl", lines(4))
    with pytest.raises(Conflict, match="is not the file"):
        Batch(tmp_path / "work", tmp_path / "in.jsonl", other)


def test_reports_are_true(tmp_path: Path) -> None:
    control = StopAfter(10**9, Cancelled("never"))
    with opened(tmp_path) as batch:
        batch.run(Echo(), control)
    assert control.reports[-1] == 100 and control.reports == sorted(control.reports)


def test_no_item_is_started_while_the_control_waits(tmp_path: Path) -> None:
    class Held(StopAfter):
        held = 0

        def step(self) -> None:
            self.held += 1
            if self.held == 2:
                before = len(echo.asked)
                time.sleep(0.3)  # for sixty of them
                assert len(echo.asked) <= before + WINDOW + 1  # those that were past the look already

    echo = Echo(pause_s=0.02)
    held = Held(10**9, Cancelled("never"))
    with opened(tmp_path, 300) as batch:
        assert batch.run(echo, held, window=WINDOW) == "completed"
    assert held.held >= 2


def test_big_texts_come_back_whole(tmp_path: Path) -> None:
    texts = ["ä🙂" * 50_000, 'quotes " and \\ and \n', "\u2028 line separators \x85"]
    write(tmp_path / "in.jsonl", [json.dumps(request(f"r{n}", text), ensure_ascii=False) for n, text in enumerate(texts)])
    with opened(tmp_path) as batch:
        batch.run(Echo(), Unattended())
        batch.finish(tmp_path / "out.jsonl", tmp_path / "err.jsonl")
    raw = (tmp_path / "out.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["response"]["body"]["text"] for line in raw if line] == texts
