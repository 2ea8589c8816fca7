"""`llmos annotate`, on this machine's home and against a server, also in the terminal."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import CLI


@pytest.fixture
def own(cli: CLI, tmp_path: Path) -> Any:
    """own("list") with a home of the test's own."""

    def run(*arguments: str, code: int = 0, stdin: str = "") -> Any:
        return cli("annotate", *arguments, code=code, stdin=stdin, env={"LLMOS_HOME": str(tmp_path / "home")})

    return run


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.slow
def test_a_project_from_beginning_to_end(own: Any, tmp_path: Path) -> None:
    made = own("create", "mood", "--label", "good", "--label", "bad", "--overlap", "2", "--json")
    assert json.loads(made.stdout)["config"]["overlap"] == 2
    rows = jsonl(tmp_path / "in.jsonl", {"body": "Lovely \x1b[31m day"}, {"body": "Bad"}, {"nobody": 1})
    imported = own("import", "mood", rows, "--column", "text=body", code=1)
    assert "2 items added" in imported.stderr and "row 3: There is no column 'body'." in imported.stderr
    shown = own("next", "mood", "--annotator", "ann").stdout
    assert "Lovely \\x1b[31m day" in shown
    terminal = own("label", "mood", "--annotator", "ann", stdin="ugly\n1\n2\n/u\nbad\n")
    assert "there is no label 'ugly'" in terminal.stderr and "Nothing is left" in terminal.stderr and "2 saved" in terminal.stderr
    quit_early = own("label", "mood", "--annotator", "bob", stdin="\n/s unclear\n/q\n").stderr
    assert "no suggestion" in quit_early and "0 saved" in quit_early
    own("label", "mood", "2", "good", "--annotator", "bob")
    told = json.loads(own("show", "mood", "--json").stdout)
    assert (told["progress"]["num_differing"], told["progress"]["num_skipped"], told["agreement"]["num_items"]) == (1, 1, 1)
    assert "by ann" in own("show", "mood").stdout
    assert "1 of 2 items are open, annotators differ on 1; what has no final" in own("export", "mood", "--format", "rows").stderr
    own("adjudicate", "mood", "2", "bad", "--note", "irony")
    own("label", "mood", "1", '{"label": "good"}', "--annotator", "cat")
    exported = own("export", "mood", "--format", "rows")
    assert exported.stderr == ""
    assert [json.loads(line)["label"] for line in exported.stdout.splitlines()] == ["good", "bad"]
    own("export", "mood", "-o", str(tmp_path / "out.json"), "--format", "label-studio")
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2
    assert "Taken back: 1" in own("undo", "mood", "--annotator", "cat").stderr
    assert json.loads(own("list", "--json").stdout)["annotations"][0]["name"] == "mood"
    assert own("open", "mood").stdout == "http://127.0.0.1:8000/annotate#/mood\n"
    own("rm", "mood")
    assert "There is no annotation project" in own("list").stderr


def test_label_studio_says_task_and_labels(own: Any, tmp_path: Path) -> None:
    xml = '<View><Text name="t" value="$body"/><Labels name="l" toName="t"><Label value="PER"/><Label value="LOC"/></Labels></View>'
    (tmp_path / "config.xml").write_text(xml)
    made = own("create", "people", "--label-studio", str(tmp_path / "config.xml"))
    assert "--column text=body" in made.stderr and "(spans)" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "x", "--label", "one"), 2, "2 labels or more"),
        (("create", "x", "--task", "ratings"), 1, "Did you mean rating"),
        (("show", "nothing"), 1, "no annotation project 'nothing'"),
        (("import", "x", "nofile.jsonl"), 1, "no file nofile.jsonl"),
        (("create", "x", "--task", "rating", "--option", "highest"), 2, "NAME=VALUE"),
    ],
)
def test_what_is_wrong_is_said(own: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    assert said in own(*arguments, code=code).stderr


def test_the_same_against_a_server(cli: CLI, live_server: str, tmp_path: Path) -> None:
    name = f"served-{secrets.token_hex(4)}"
    url = ("--url", live_server)
    cli("annotate", "create", name, "--task", "rating", "--option", "highest=3", *url)
    cli("annotate", "import", name, jsonl(tmp_path / "in.jsonl", {"text": "a"}, {"text": "b"}), *url)
    cli("annotate", "label", name, *url, stdin="9\n3\n2\n")
    rows = cli("annotate", "export", name, "--format", "rows", *url).stdout
    assert [json.loads(row)["rating"] for row in rows.splitlines()] == [3, 2]
    assert cli("annotate", "open", name, *url).stdout == f"{live_server}/annotate#/{name}\n"


def test_a_label_called_by_a_digit_is_meant_by_it(own: Any, tmp_path: Path) -> None:
    """Keys in turn would make "1" the key of the label 0."""
    made = json.loads(own("create", "digits", "--label", "0", "--label", "1", "--label", "other", "--json").stdout)
    assert [(one["name"], one["key"]) for one in made["config"]["labels"]] == [("0", "0"), ("1", "1"), ("other", "2")]
    own("import", "digits", jsonl(tmp_path / "in.jsonl", *({"text": f"t{number}"} for number in range(3))))
    own("label", "digits", stdin="1\n2\n0\n")
    rows = own("export", "digits", "--format", "rows").stdout.splitlines()
    assert [json.loads(row)["label"] for row in rows] == ["1", "other", "0"]


def test_a_text_that_begins_like_a_command_is_a_text(own: Any, tmp_path: Path) -> None:
    own("create", "answers", "--task", "text")
    own("import", "answers", jsonl(tmp_path / "in.jsonl", {"text": "How does it begin?"}, {"text": "And this?"}))
    own("label", "answers", stdin="/start\n/s no idea\n")
    [row, other] = [json.loads(line) for line in own("export", "answers").stdout.splitlines()]
    assert row["value"] == {"text": "/start"} and other["annotations"][0]["skipped"] == "no idea"
