"""`llmos data`, on this machine's home, as a job, in a terminal, and against a server."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.cli.data_run import _bar
from tests.cli.conftest import CLI, Terminal
from tests.data.made import LONG, source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("data")
    path = source(found)
    steps = ["normalise_whitespace", {"text_length": {"min_chars": 30}}, "exact_dedup"]
    (found / "r.yaml").write_text(json.dumps({"name": "mails", "sources": [{"path": str(path)}], "process": steps}))
    return found


@pytest.fixture
def own(cli: CLI, folder: Path) -> Any:
    """own("list") with a home of the file's own."""

    def run(*arguments: str, code: int = 0) -> Any:
        return cli("data", *arguments, code=code, env={"LLMOS_HOME": str(folder / "home")})

    return run


@pytest.mark.slow
def test_from_a_dry_run_to_a_report(own: Any, folder: Path) -> None:
    recipe = str(folder / "r.yaml")
    dry = own("run", recipe, "--dry-run").stdout
    assert "in.jsonl  jsonl" in dry and "2:exact_dedup decides over all rows" in dry and "- in.jsonl#22  chars = 5, limit 30" in dry
    done = own("run", recipe, "-o", str(folder / "out.jsonl"))
    ref = done.stdout.splitlines()[-1]
    assert ref.startswith("mails@") and "1:text_length" in done.stdout and "chars 2" in done.stdout
    assert "1 rows could not be used:" in done.stderr and "in.jsonl#25" in done.stderr
    assert "22 of 26 rows in" in done.stderr and f"llmos data report {ref}" in done.stderr
    assert len((folder / "out.jsonl").read_text().splitlines()) == 22
    second = json.loads(own("run", recipe, "process.text_length.min_chars=3", "--name", "mails", "--json").stdout)
    assert second["rows"] == 24 and second["steps"]["1:text_length"]["dropped_by"] == {}
    assert [one["rows"] for one in json.loads(own("list", "--json").stdout)["datasets"]] == [24, 22]
    shown = own("show", ref).stdout
    assert "text: String" in shown and "file in.jsonl" in shown
    head = own("head", ref, "-n", "2", "--where", "n > 1")
    assert [json.loads(line)["n"] for line in head.stdout.splitlines()] == [2, 3] and "2 of 21 rows" in head.stderr
    assert "in.jsonl#25" in own("errors", ref).stdout
    page = folder / "report.html"
    assert "1:text_length" in own("report", ref, "-o", str(page)).stdout and page.read_text().startswith("<!doctype html>")
    why = own("why", "in.jsonl#21", "--dataset", ref).stdout
    assert f"  - {LONG}   21. " in why and f"  + {LONG} 21." in why and "changed: chars = -3" in why
    diff = own("diff", ref, "mails").stdout
    assert "Only in b: 2 rows" in diff and "in a: dropped by 1:text_length: chars" in diff
    assert "file:in.jsonl@" in own("lineage", ref).stdout
    own("verify", ref)
    own("export", ref, str(folder / "out.csv"))
    assert (folder / "out.csv").read_text().startswith("text,n\n")
    assert "are free" in own("gc", "--older-than", "0").stderr
    own("rm", ref)


def test_mistakes_are_usage(own: Any, folder: Path) -> None:
    recipe = str(folder / "r.yaml")
    for arguments, code, said in (
        (("run", recipe, "process.text_length.min_char=1"), 2, "process.1.text_length.min_char"),
        (("run", recipe, "--part", "3/2"), 2, "I/N"),
        (("why", "in.jsonl#999"), 1, "in.jsonl#999"),
        (("gc", "--older-than", "soon"), 2, "no age"),
    ):
        assert said in own(*arguments, code=code).stderr


def test_shares_of_a_job_array(own: Any, folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(4):
        (folder / "many" / f"{number}.jsonl").write_text(f'{{"text": "text {number}"}}\n')
    recipe = folder / "many.yaml"
    many = {"name": "many", "sources": [{"path": str(folder / "many")}], "process": ["lowercase"], "read": {"slice_bytes": 8}}
    recipe.write_text(json.dumps(many))
    waits = own("run", str(recipe), "--part", "1/2")
    assert "parts are not there yet" in waits.stderr and waits.stdout == ""
    own("run", str(recipe), "--part", "2/2")
    assert json.loads(own("run", str(recipe), "--json").stdout)["computed_parts"] == 0


def test_as_a_job(own: Any, folder: Path) -> None:
    done = own("run", str(folder / "r.yaml"), "--job", "--name", "by-job")
    assert "Job job_" in done.stderr and done.stdout.splitlines()[-1].startswith("by-job@")


def test_steps(own: Any) -> None:
    one = own("steps", "minhash_dedup").stdout
    assert "threshold: " in one and "Which one of a set stays." in one


def test_convert(own: Any, folder: Path) -> None:
    chats = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "id": 1}]
    path = folder / "chats.json"
    path.write_text(json.dumps([*chats, 5]))
    done = own("convert", str(path), "-o", str(folder / "sg.jsonl"), "--to", "sharegpt", code=1)
    assert "The rows are messages" in done.stderr and "Taken along: id" in done.stderr and "1 rows could not" in done.stderr
    assert json.loads((folder / "sg.jsonl.errors.jsonl").read_text())["row"] == 2
    assert json.loads((folder / "sg.jsonl").read_text())["conversations"][0] == {"from": "human", "value": "Hi"}


def test_ctrl_c_says_how_it_goes_on(terminal: Callable[..., Terminal], folder: Path) -> None:
    recipe = folder / "slow.yaml"
    big = folder / "big.jsonl"
    big.write_text("".join(json.dumps({"text": f"{LONG} {number}. " * 40}) + "\n" for number in range(60_000)))
    slow = {"name": "slow", "sources": [{"path": str(big)}], "process": ["gopher_repetition"], "read": {"slice_bytes": 2_000_000}}
    recipe.write_text(json.dumps(slow | {"executor": "inline"}))
    shell = terminal("data", "run", str(recipe))
    shell.wait_for("parts")
    shell.send("\x03")
    shell.wait_for("goes on from there")
    assert shell.finish() == 130


def test_ctrl_c_that_a_library_swallows_ends_the_run_with_the_next_step() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are told to be deaf
    try:
        with _bar() as shown:
            shown.step()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                shown.step()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_against_a_server(cli: CLI, live_server: str, folder: Path) -> None:
    name = f"srv{secrets.token_hex(3)}"
    recipe = folder / "rows.yaml"
    recipe.write_text(
        json.dumps({"name": name, "sources": [{"rows": [{"text": "Yes"}, {"text": "no"}]}], "process": ["lowercase"]})
    )
    url = ("--url", live_server)
    assert "rows  jsonl" in cli("data", "run", str(recipe), "--dry-run", *url).stdout
    ref = cli("data", "run", str(recipe), *url).stdout.splitlines()[-1]
    assert json.loads(cli("data", "head", ref, *url).stdout.splitlines()[0])["text"] == "yes"
    assert "changed" in cli("data", "why", "rows#1", "--dataset", ref, *url).stdout
    cli("data", "export", ref, str(folder / "remote.jsonl"), *url)
    assert (folder / "remote.jsonl").read_text() == '{"text":"yes"}\n{"text":"no"}\n'
    cli("data", "rm", ref, *url)
