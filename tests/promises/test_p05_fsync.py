"""P5: nothing is acknowledged before it is on disk. The order is read from what the process asked of the kernel (strace)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hub.server import Hub
from tests.promises import strace
from tests.promises.service import ROOT, Service

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "-")]
Record = Callable[[str, object], None]


# -- the checker itself: programs that acknowledge too early are caught ----------------------------------------------------
PROGRAM = """
import os, sys
folder, how = sys.argv[1:]
def sync(path):
    handle = os.open(path, os.O_RDONLY); os.fsync(handle); os.close(handle)
temporary, final = os.path.join(folder, "x.tmp"), os.path.join(folder, "x")
with open(temporary, "wb") as out:
    out.write(b"payload-4711"); out.flush()
    if how != "file": os.fsync(out.fileno())
if how == "late": os.write(1, b"done-4711\\n")
os.rename(temporary, final)
if how != "folder": sync(folder)
if how == "again":
    with open(final, "ab") as out: out.write(b" payload-4711")
if how != "late": os.write(1, b"done-4711\\n")
if how == "file": sync(final)
"""


def record_of(command: list[str], log: Path, env: dict[str, str] | None = None) -> str:
    with strace.traced(command, log, env=env) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, log.read_text()[-2000:]
    return out


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("file", "before its bytes were on disk"),
        ("folder", "before its name was on disk"),
        ("again", "before its bytes were on disk"),
        ("good", ""),
    ],
)
def test_a_program_that_acknowledges_too_early_is_caught(tmp_path: Path, how: str, said: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    record_of([sys.executable, "-c", PROGRAM, str(folder), how], tmp_path / "log")
    calls = strace.read(tmp_path / "log")
    if not said:
        assert strace.assert_durable(calls, payload="payload-4711", acknowledged="done-4711", under=folder) == 1
        return
    with pytest.raises(AssertionError, match=said):
        strace.assert_durable(calls, payload="payload-4711", acknowledged="done-4711", under=folder)


def test_what_is_in_no_file_is_caught(tmp_path: Path) -> None:
    record_of([sys.executable, "-c", "import os; os.write(1, b'done-4711')"], tmp_path / "log")
    with pytest.raises(AssertionError, match="is in no file"):
        strace.assert_durable(strace.read(tmp_path / "log"), payload="x", acknowledged="done-4711", under=tmp_path)


BROKEN_STORE = """
import sys
from sqlalchemy import event
from llmos.infra.database import open_database
from llmos.kernel.base import JobSpec
from llmos.kernel.store import JobStore
from llmos.settings import Settings
database = open_database(Settings.from_env())
def quick(connection, cursor, statement, parameters, context, executemany):
    return statement.replace("synchronous = FULL", f"synchronous = {sys.argv[1]}"), parameters
event.listen(database.engine, "before_cursor_execute", quick, retval=True)
print(JobStore(database).submit(JobSpec(kind="promise-steps")).id, flush=True)
"""


@pytest.mark.parametrize(("synchronous", "durable"), [("FULL", True), ("OFF", False), ("NORMAL", False)])
def test_a_store_that_does_not_sync_is_caught(tmp_path: Path, synchronous: str, durable: bool) -> None:
    """The real store on a database that was told to be quick instead of safe."""
    home = tmp_path / "home"
    env = os.environ | {"LLMOS_HOME": str(home)}
    job_id = record_of([sys.executable, "-c", BROKEN_STORE, synchronous], tmp_path / "log", env).strip()
    calls = strace.read(tmp_path / "log")
    if durable:
        assert strace.assert_durable(calls, payload=job_id, acknowledged=job_id, under=home) > 0
    else:
        with pytest.raises(AssertionError, match="before its bytes were on disk"):
            strace.assert_durable(calls, payload=job_id, acknowledged=job_id, under=home)


# -- a program: model import ------------------------------------------------------------------------------------------------
IMPORT = """
import sys
from pathlib import Path
from llmos.library.library import Library
from llmos.settings import Settings
card = Library.open(Settings.from_env()).import_path(Path(sys.argv[1]), name="mine")
print(" ".join(["imported", card.version, *(file.sha256 for file in card.files)]), flush=True)
"""


def test_import_of_a_model(tmp_path: Path, hub: Hub, record_property: Record) -> None:
    folder = hub.repos["google-bert/bert-base-uncased"].folder
    home = tmp_path / "home"
    env = os.environ | {"LLMOS_HOME": str(home), "HF_HOME": str(tmp_path / "hf")}
    _, version, *blobs = record_of([sys.executable, "-c", IMPORT, str(folder)], tmp_path / "log", env).split()
    calls = strace.read(tmp_path / "log")
    checked = strace.assert_durable(calls, payload=version, acknowledged=f"imported {version}", under=home)
    assert strace.files_durable(calls, home / "blobs", acknowledged=f"imported {version}") >= len(set(blobs))
    record_property("figure", f"import: {checked} writes of the row, {len(set(blobs))} files")


# -- a service: everything it acknowledges over HTTP -----------------------------------------------------------------------
class Traced:
    """A service under strace, and what it acknowledged."""

    def __init__(self, service: Service, log: Path, client: httpx.Client) -> None:
        self.service, self.log, self.client = service, log, client

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self.client.request(method, path, **options)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def check(self, payload: str, acknowledged: str = "", after: int = 0) -> int:
        strace.settled(self.log)
        return strace.assert_durable(
            strace.read(self.log), payload=payload, acknowledged=acknowledged or payload, under=self.service.home, after=after
        )

    def until(self, path: str, states: tuple[str, ...], field: str = "state") -> dict[str, Any]:
        until = time.monotonic() + 120
        while (found := self.ask("GET", path))[field] not in states:
            assert time.monotonic() < until, found
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("p5")
    log = folder / "strace"
    service = Service(folder / "home", wrap=strace.prefix(log))
    try:
        service.start(ready_s=180)
        with service.client(timeout=120) as client:
            yield Traced(service, log, client)
    finally:
        service.end()


def test_submission_of_a_job(traced: Traced, record_property: Record) -> None:
    job = traced.ask("POST", "/api/v1/jobs", json={"kind": "promise-steps", "params": {"steps": 0}})
    record_property("figure", f"submit: {traced.check(job['id'])} writes")


def test_end_of_a_job(traced: Traced, record_property: Record) -> None:
    """The answer that first says "succeeded" leaves after the row that says so is on disk; a checkpoint likewise."""
    job = traced.ask("POST", "/api/v1/jobs", json={"kind": "promise-steps", "params": {"steps": 12, "save_every": 5}})
    after = strace.settled(traced.log)
    assert traced.until(f"/api/v1/jobs/{job['id']}", ("succeeded", "failed"))["state"] == "succeeded"
    record_property("figure", f"finish: {traced.check('succeeded', after=after)} writes")


@pytest.fixture(scope="module")
def model(traced: Traced, hub: Hub) -> str:
    """A small T5 in the service's library."""
    folder = hub.repos["google-t5/t5-base"].folder
    code = IMPORT.replace("mine", "p5-model")
    subprocess.run([sys.executable, "-c", code, str(folder)], env=traced.service.env, cwd=ROOT, check=True, capture_output=True)
    return "p5-model"


def test_move_of_an_alias(traced: Traced, model: str, record_property: Record) -> None:
    traced.ask("PUT", "/api/v1/aliases/p5-alias", json={"target": model})
    record_property("figure", f"alias: {traced.check('p5-alias')} writes")


def test_result_of_a_batch(traced: Traced, model: str, record_property: Record) -> None:
    """The answer that first says "completed" leaves after the output file, its row and the row of the job are on disk."""
    lines = [
        {
            "custom_id": f"p5-item-{number}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": model, "prompt": "a text", "max_tokens": 2},
        }
        for number in range(3)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    sent = traced.ask("POST", "/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    after = strace.settled(traced.log)
    order = {"input_file_id": sent["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = traced.ask("POST", "/v1/batches", json=order)
    done = traced.until(f"/v1/batches/{batch['id']}", ("completed", "failed"), "status")
    assert done["status"] == "completed", done["errors"]
    output = done["output_file_id"]
    rows = traced.check(output, after=after)
    calls = strace.read(traced.log)
    written = strace.assert_durable(
        calls, payload="p5-item-2", acknowledged=output, under=traced.service.home / "jobs", after=after
    )
    assert strace.files_durable(calls, traced.service.home / "files", acknowledged=output) > 0
    record_property("figure", f"batch: {rows} writes of the row, {written} of the last item")


def test_creation_of_a_key(traced: Traced, record_property: Record) -> None:
    """Last of the module's requests without a key: from here on the service wants one."""
    made = traced.ask("POST", "/api/v1/keys", json={"name": "p5", "scopes": ["admin"]})
    traced.client.headers["authorization"] = f"Bearer {made['key']}"
    record_property("figure", f"key: {traced.check(made['id'])} writes")


def test_upload_of_a_file(traced: Traced, record_property: Record) -> None:
    content = b'{"custom_id": "p5-upload-content"}\n' * 10
    made = traced.ask("POST", "/v1/files", files={"file": ("p5.jsonl", content)}, data={"purpose": "batch"})
    rows = traced.check(made["id"])
    bytes_ = traced.check("p5-upload-content", acknowledged=made["id"])
    record_property("figure", f"upload: {rows} writes of the row, {bytes_} of the bytes")
