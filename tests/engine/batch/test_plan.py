"""Every line is checked, and the order of work puts together what opens alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.engine.batch import plan
from llmos.engine.batch.base import MAX_LINE_BYTES, InvalidBatch, Rules
from llmos.errors import Conflict, CorruptFile
from tests.engine.batch.inputs import CHAT, request, write

RULES = Rules(endpoint=CHAT)
PLAIN = Rules(endpoint=CHAT, model="fake", plain=True)


def planned(folder: Path, lines: list[object], rules: Rules = RULES) -> plan.Plan:
    source = write(folder / "in.jsonl", lines)
    plan.make(source, folder / "plan", rules)
    return plan.Plan(folder / "plan", source)


def order(found: plan.Plan) -> list[str]:
    try:
        return [found.item(place).custom_id for place in found.pending()]
    finally:
        found.close()


def test_groups_follow_each_other_and_long_items_go_first(tmp_path: Path) -> None:
    long_ago = "You know all about the past. " * 40
    lines = [
        request("a1", "x", system="A", max_tokens=10),
        request("b1", "y", system=long_ago, max_tokens=500),
        request("a2", "x", system="A", max_tokens=300),
        request("b2", "y", system=long_ago, max_tokens=20),
        request("a3", "x", system="A", max_tokens=100),
    ]
    assert order(planned(tmp_path, list(lines))) == ["b1", "a2", "b2", "a3", "a1"]  # the first of each group goes ahead


def test_the_first_of_a_group_goes_before_the_end_of_the_group_before(tmp_path: Path) -> None:
    lines = [
        request(f"{group}{n}", f"question {n}", system=group * 50, max_tokens=200 if group == "a" else 100)
        for group in "ab"
        for n in range(100)
    ]
    found = order(planned(tmp_path, list(lines)))
    first = next(place for place, name in enumerate(found) if name.startswith("b"))
    assert first == 100 - plan.LEAD
    assert all(name.startswith("a") for name in found[first + 1 : 101]) and all(name.startswith("b") for name in found[101:])


def test_a_group_of_one_is_not_waited_for(tmp_path: Path) -> None:
    found = planned(tmp_path, [request("a", "x", system="A"), request("b", "x", system="A"), request("c", "x", system="C")])
    shared = {found.item(place).custom_id: place.shared for place in found.pending()}
    num_shared = found.num_shared
    found.close()
    assert shared == {"a": True, "b": True, "c": False} and num_shared == 2


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        ("{", "invalid_json_line", None),
        ("[1]", "invalid_json_line", None),
        ('{"a": "\\ud800"}', "invalid_json_line", None),
        ("[" * 100_000, "invalid_json_line", None),
        ({**request("x"), "custom_id": ""}, "missing_required_parameter", "custom_id"),
        ({**request("x"), "custom_id": 7}, "invalid_type", "custom_id"),
        ({**request("x"), "custom_id": "x" * 513}, "invalid_type", "custom_id"),
        ({**request("x"), "method": "GET"}, "invalid_method", "method"),
        ({**request("x"), "url": "/v1/embeddings"}, "invalid_url", "url"),
        ({**request("x"), "body": None}, "missing_required_parameter", "body"),
        ({**request("x"), "body": [1]}, "invalid_type", "body"),
        ({**request("x"), "more": 1}, "unknown_parameter", "more"),
        ({**request("x"), "body": {"messages": []}}, "missing_required_parameter", "body.model"),
        (request("good"), "duplicate_custom_id", "custom_id"),
        (request("x", model="other"), "mismatched_model", "body.model"),
        ('"' + "x" * MAX_LINE_BYTES + '"', "line_too_long", None),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, code: str, param: str | None) -> None:
    with pytest.raises(InvalidBatch) as refused:
        planned(tmp_path, [request("good"), "", line, request("last")])
    [problem] = refused.value.problems
    assert (problem.code, problem.line, problem.param) == (code, 3, param)
    assert "line 3" in refused.value.message
    assert not (tmp_path / "plan").exists()


def test_problems_are_counted_and_the_first_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidBatch) as refused:
        planned(tmp_path, ["{"] * 250)
    assert refused.value.count == 250
    assert [problem.line for problem in refused.value.problems] == list(range(1, 101))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBatch) as refused:
        planned(tmp_path, ["", "  "])
    assert [problem.code for problem in refused.value.problems] == ["empty_file"]


def test_plain_lines_become_bodies(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        [
            {"prompt": "Hi"},
            {"messages": [{"role": "user", "content": "Ho"}], "custom_id": "mine", "max_tokens": 3},
            request("r", model="x"),
        ],
        PLAIN,
    )
    items = {item.custom_id: item.body for item in map(found.item, found.pending())}
    found.close()
    assert items == {
        "1": {"messages": [{"role": "user", "content": "Hi"}], "model": "fake"},
        "mine": {"messages": [{"role": "user", "content": "Ho"}], "model": "fake", "max_tokens": 3},
        "r": {"messages": [{"role": "user", "content": "Hi"}], "model": "fake"},
    }


def test_a_plain_line_without_a_question_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidBatch) as refused:
        planned(tmp_path, [{"text": "Hi"}], PLAIN)
    assert (refused.value.problems[0].line, refused.value.problems[0].param) == (1, "messages")


def test_another_input_is_a_conflict(tmp_path: Path) -> None:
    planned(tmp_path, [request("a")]).close()
    source = write(tmp_path / "in.jsonl", [request("a"), request("b")])
    with pytest.raises(Conflict, match="is not the file"):
        plan.Plan(tmp_path / "plan", source)


def test_a_damaged_plan_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"no database" * 200)
    with pytest.raises(CorruptFile):
        plan.Plan(tmp_path / "plan", write(tmp_path / "in.jsonl", [request("a")]))


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """The peak of a process that plans 60,000 items is not far from that of one that plans 1,000."""
    script = """
import resource, sys
from pathlib import Path
from llmos.engine.batch import plan
from llmos.engine.batch.base import Rules
source, path = Path(sys.argv[1]), Path(sys.argv[2])
plan.make(source, path, Rules(endpoint="/v1/chat/completions"))
found = plan.Plan(path, source)
assert sum(1 for _ in found.pending()) == found.total
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for count in (1_000, 60_000):
        source = tmp_path / f"{count}.jsonl"
        with source.open("w") as file:
            for number in range(count):
                file.write(json.dumps(request(f"request-{number}", f"Question {number}?", system=f"Group {number % 7}")) + "\n")
        answer = subprocess.run(
            [sys.executable, "-c", script, str(source), str(tmp_path / f"{count}.plan")], capture_output=True, text=True, check=True
        )
        peaks.append(int(answer.stdout) * 1024)
    assert peaks[1] - peaks[0] < 20e6
