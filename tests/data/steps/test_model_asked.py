"""Answers are kept: nothing is asked twice, a kill loses what was in flight and no more, and only the question's own fault is a refusal."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from llmos.data.synth.answerers import Writing, question
from llmos.data.synth.asked import Answer, Asked
from llmos.engine.batch.base import Counts, Outcome
from llmos.errors import Cancelled, OverCapacity, UnsupportedFeature
from llmos.types import Sampling
from tests.apps.echo import echo
from tests.data.asking import column, fake_models, told, user_text, writer
from tests.data.running import run
from tests.doubles import fake_card

ASK = [question(f"Question {number}", Sampling(max_tokens=64, temperature=0.0)) for number in range(30)]


def shout(prompt: str) -> str | None:
    return user_text(prompt).upper()


def test_each_question_is_asked_once(tmp_path: Path) -> None:
    session, engine = echo(tmp_path / "model", shout)
    asked = Asked(tmp_path / "asked")
    first = asked.ask([*ASK[:3], ASK[0]], Writing(session, ASK[0]))
    assert [answer.body["text"] for answer in first] == ["QUESTION 0", "QUESTION 1", "QUESTION 2", "QUESTION 0"]
    assert asked.ask(ASK[:5], Writing(session, ASK[0]))[:3] == first[:3]
    assert len(engine.asked) == 5
    asked.close()
    again = Asked(tmp_path / "asked")
    assert again.ask(ASK[:5], Writing(session, ASK[0]))[4].body == {"text": "QUESTION 4", "finish_reason": "stop"}
    assert len(engine.asked) == 5
    assert (asked.num_new, again.num_new) == (5, 0)
    again.close()


def test_two_processes_have_a_log_each_and_read_both(tmp_path: Path) -> None:
    session, engine = echo(tmp_path / "model", shout)
    one, other = Asked(tmp_path / "asked"), Asked(tmp_path / "asked")
    one.ask(ASK[:2], Writing(session, ASK[0]))
    other.ask(ASK[2:4], Writing(session, ASK[0]))
    one.close()
    other.close()
    assert sorted(path.name for path in (tmp_path / "asked").glob("*.log")) == ["results-1.log", "results.log"]
    third = Asked(tmp_path / "asked")
    third.ask(ASK[:4], Writing(session, ASK[0]))
    assert len(engine.asked) == 4
    third.close()


def test_it_asks_from_a_notebook_too(tmp_path: Path) -> None:
    """Where the thread has a running loop."""
    session, _ = echo(tmp_path / "model", shout)
    asked = Asked(tmp_path / "asked")

    async def cell() -> list[Answer]:
        return asked.ask(ASK[:2], Writing(session, ASK[0]))

    assert [answer.body["text"] for answer in asyncio.run(cell())] == ["QUESTION 0", "QUESTION 1"]
    asked.close()


def test_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    session, engine = echo(tmp_path / "model", shout)
    asked = Asked(tmp_path / "asked")
    asked.ask(ASK[:3], Writing(session, ASK[0]))
    asked.close()
    log = tmp_path / "asked" / "results.log"
    log.write_bytes(log.read_bytes()[:-5])
    again = Asked(tmp_path / "asked")
    assert len(again.ask(ASK[:3], Writing(session, ASK[0]))) == 3
    assert len(engine.asked) == 4
    again.close()


class StopAfter:
    """A Control that ends the run once so many answers are in the log."""

    def __init__(self, log: Path, num: int) -> None:
        self.log, self.num = log, num

    def step(self) -> None:
        if self.log.exists() and self.log.read_bytes().count(b"\n") >= self.num:
            raise Cancelled("enough")

    def report(self, counts: Counts) -> None:
        """Nobody listens."""


def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    card = fake_card(extra={"step_s": "0.02"})
    log = tmp_path / "asked" / "results.log"
    models = fake_models(tmp_path, card)
    many = [question(f"Question {number}", Sampling(max_tokens=64, temperature=0.0)) for number in range(200)]
    stopped = Asked(log.parent, control=StopAfter(log, 40))
    with pytest.raises(Cancelled):
        stopped.ask(many, Writing(models.session("fake"), many[0]))
    stopped.close()
    kept = log.read_bytes().count(b"\n")
    assert 40 <= kept < 200
    again = Asked(log.parent)
    assert {answer.body["text"] for answer in again.ask(many, Writing(models.session("fake"), many[0]))} == {"Hello world."}
    assert again.num_new == 200 - kept
    again.close()
    models.close()


def _work(folder: Path) -> None:
    """What the process does that is killed."""
    models = fake_models(folder, fake_card(extra={"step_s": "0.01"}))
    rows = [{"text": f"Row {number} of the text."} for number in range(300)]
    run(folder, rows, [{"paraphrase": {"model": "fake", "max_tokens": 64}}], models=models)


def _answers(home: Path) -> int:
    return sum(log.read_bytes().count(b"\n") for log in (home / "datasets" / ".asked").glob("*/results.log"))


def test_a_killed_process_loses_what_was_in_flight_alone(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_work, args=(tmp_path,))
    child.start()
    assert child.pid is not None
    while child.is_alive() and _answers(tmp_path) < 60:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    kept = _answers(tmp_path)
    assert 60 <= kept < 300
    models = fake_models(tmp_path, fake_card(extra={"step_s": "0.01"}))
    rows = [{"text": f"Row {number} of the text."} for number in range(300)]
    version = run(tmp_path, rows, [{"paraphrase": {"model": "fake", "max_tokens": 64}}], models=models)
    asked = models.asked(models.session("fake"), Writing.how)
    assert (asked.num_new, version.num_rows) == (300 - kept, 600)
    models.close()


def test_what_is_the_questions_own_fault_is_a_refusal(tmp_path: Path) -> None:
    session, engine = echo(tmp_path / "model", shout, context_length=100)
    asked = Asked(tmp_path / "asked")
    long = question("x" * 300, Sampling(max_tokens=8, temperature=0.0))
    found = asked.ask([long, *ASK[:1]], Writing(session, long))
    assert found[0].refused.startswith("The prompt has") or "context" in found[0].refused
    assert found[1] == Answer(body={"text": "QUESTION 0", "finish_reason": "stop"})
    asked.close()
    again = Asked(tmp_path / "asked")  # refusals are not kept
    again.ask([long], Writing(session, long))
    assert (again.num_new, len(engine.asked)) == (1, 1)
    again.close()


def test_what_is_not_ends_the_run(tmp_path: Path) -> None:
    asked = Asked(tmp_path / "asked")

    class Full(Writing):
        def refusal(self, error: Exception) -> Outcome:
            return super().refusal(OverCapacity("no room"))

    failing, _ = echo(tmp_path / "failing", lambda prompt: None)
    with pytest.raises(OverCapacity, match="no room"):
        asked.ask(ASK[:2], Full(failing, ASK[0]))
    with pytest.raises(UnsupportedFeature, match="cannot do"):
        plain, _ = echo(tmp_path / "plain", shout)
        held = {**ASK[0], "schema": {"type": "object"}}
        asked.ask([held], Writing(plain, ASK[0]))
    asked.close()


def test_other_cuts_of_the_batches_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"text": f"Sentence number {number} of this text."} for number in range(60)]
    seen = []
    for place, read in enumerate(({"batch_bytes": 1000}, {})):
        models, engine = writer(tmp_path / str(place), lambda prompt: f"{user_text(prompt)[-30:][::-1]}")
        process = [{"paraphrase": {"model": "echo", "num_copies": 2, "max_likeness": 1.0}}]
        version = run(tmp_path / str(place), rows, process, models=models, read=read)
        seen.append((version.scan().collect().rows(), sorted(r.sampling.seed or 0 for _, r in engine.asked)))
        models.close()
    assert seen[0] == seen[1]
    assert len(set(seen[0][1])) == 120


def test_models_are_in_the_key_the_manifest_and_the_lineage(tmp_path: Path) -> None:
    models = fake_models(tmp_path)
    version = run(tmp_path, [{"text": "Some words."}], [{"paraphrase": {"model": "fake", "max_tokens": 64}}], models=models)
    exact = models.exact("fake")
    assert version.manifest["identity"]["models"] == [exact]
    assert column(version, "synthetic") == [None, "paraphrase"]
    assert column(version, "model") == [None, models.session("fake").card.ref]
    assert column(version, "parent") == [None, "rows#1"]
    assert told(version, "expanded") == [("rows#1", "rows", "")]
    models.close()
