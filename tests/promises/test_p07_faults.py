"""P7: a full disk, a failing disk, no file handles: a clear error (507 or 503), nothing corrupt, and the same process goes on when
the fault is gone.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import httpx
import pytest

from llmos.infra.database import Database
from tests.promises import faults, history
from tests.promises.levels import quick_or_full, seeded
from tests.promises.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(quick_or_full(600, 7200))]
NUM_FULL = quick_or_full(10, 100)  # points with a full disk
NUM_FAILING = quick_or_full(10, 100)  # points with EIO or EMFILE
DISK_BYTES = 24 * 2**20
MOST_FREE_BYTES = 400_000
CLEAR = {503, 507}
Record = Callable[[str, object], None]

# system call, error, what it is: whether the fault may hit a call that is not ours to answer for is said by the statuses
FAULTS = [
    ("fdatasync", "EIO"),
    ("fsync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("rename", "EIO"),
    ("openat", "EMFILE"),
    ("openat", "ENFILE"),
    ("ftruncate", "EIO"),
]


class Subject:
    """A service under faults, what it acknowledged, and what it answered."""

    def __init__(self, service: Service, client: httpx.Client) -> None:
        self.service, self.client = service, client
        self.pid = service.pid
        self.jobs: list[str] = []
        self.files: dict[str, bytes] = {}
        self.answers: Counter[int] = Counter()
        self._number = 0

    def submit(self) -> httpx.Response:
        self._number += 1
        labels = {"number": str(self._number), "pad": "x" * 200}
        answer = self.client.post(
            "/api/v1/jobs", json={"kind": "promise-steps", "params": {"steps": 3, "step_s": 0}, "labels": labels}
        )
        if answer.status_code in (200, 201):
            self.jobs.append(answer.json()["id"])
        return answer

    def upload(self) -> httpx.Response:
        self._number += 1
        content = f"upload {self._number}\n".encode() * 4000
        files = {"file": (f"{self._number}.jsonl", content)}
        answer = self.client.post("/v1/files", files=files, data={"purpose": "user_data"})
        if answer.status_code in (200, 201):
            self.files[answer.json()["id"]] = content
        return answer

    def try_one(self, operation: Callable[[], httpx.Response]) -> int:
        """The status of an operation under a fault: done, or a clear error in the shape of the API."""
        answer = operation()
        self.answers[answer.status_code] += 1
        if answer.status_code not in (200, 201):
            assert answer.status_code in CLEAR, (answer.status_code, answer.text, self.service.tail())
            error = answer.json()["error"]
            assert error["code"] in ("storage_error", "over_capacity"), error
            assert len(error["message"]) > 20
        return answer.status_code

    def recovered(self) -> None:
        """Without a restart, both operations work again."""
        until = time.monotonic() + 30
        while True:
            answers = [self.submit(), self.upload()]
            if all(answer.status_code in (200, 201) for answer in answers):
                break
            assert time.monotonic() < until, [answer.text for answer in answers]
            time.sleep(0.2)
        assert self.service.alive
        assert self.service.pid == self.pid

    def sound(self) -> None:
        """All jobs end, every acknowledged job and file is there and whole, the database is not damaged."""
        until = time.monotonic() + 120
        database = Database(f"sqlite:///{self.service.home / 'db.sqlite3'}")
        try:
            while (found := history.problems(history.read(database), self.jobs)) and time.monotonic() < until:
                time.sleep(0.5)
            assert found == []
        finally:
            database.close()
        for file_id, content in self.files.items():
            assert self.client.get(f"/v1/files/{file_id}/content").content == content
        with sqlite3.connect(self.service.home / "db.sqlite3") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        for blob in (self.service.home / "blobs").rglob("*"):
            if blob.is_file() and len(blob.name) == 64:
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


@pytest.mark.skipif(bool(faults.why_no_tmpfs()), reason=faults.why_no_tmpfs() or "-")
def test_full_disk(tmp_path: Path, record_property: Record) -> None:
    rng = seeded("P7 full disk")
    with faults.small_disk(tmp_path / "disk", DISK_BYTES) as disk, Service(disk / "home") as service, service.client() as client:
        filler, subject = faults.Filler(disk), Subject(service, client)
        subject.recovered()
        for point in range(NUM_FULL):
            _until_nothing_runs(subject)
            filler.leave(0 if point % 3 == 0 else rng.randrange(MOST_FREE_BYTES))
            order = [subject.submit, subject.upload] * 3
            rng.shuffle(order)
            refused = [subject.try_one(operation) for operation in order]
            if point % 3 == 0:
                assert set(refused) & CLEAR, "a full disk refused nothing"  # a job may fit into pages that are there, a file not
            assert client.get("/healthz").status_code == 200
            filler.clear()
            subject.recovered()
            _make_room(subject)
        subject.sound()
        record_property("figure", f"{NUM_FULL} full disks: {_told(subject)}")


def _until_nothing_runs(subject: Subject) -> None:
    """So that each point begins alike; a job that met the full disk is tried again by itself."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = subject.client.get("/api/v1/jobs", params={"state": ["queued", "running"]})
        if answer.status_code == 200 and not answer.json()["jobs"]:
            return
        time.sleep(0.1)
    raise AssertionError(f"jobs are still running: {answer.text[:500]}")


def _make_room(subject: Subject) -> None:
    """The small disk would fill up by what is kept."""
    for file_id in list(subject.files)[:-3]:
        assert subject.client.delete(f"/v1/files/{file_id}").status_code == 200
        del subject.files[file_id]


def _told(subject: Subject) -> str:
    refused = sum(number for status, number in subject.answers.items() if status in CLEAR)
    return f"{refused} clear refusals, {sum(subject.answers.values()) - refused} done, 0 corrupt, no restart"


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with Service(tmp_path / "home") as service, service.client() as client:
        found = Subject(service, client)
        found.recovered()
        yield found


@pytest.mark.skipif(bool(faults.why_no_injection()), reason=faults.why_no_injection() or "-")
def test_failing_disk_and_no_handles(subject: Subject, tmp_path: Path, record_property: Record) -> None:
    rng = seeded("P7 failing disk")
    hits = 0
    for point in range(NUM_FAILING):
        hits += _one_fault(subject, rng, *FAULTS[point % len(FAULTS)], tmp_path / "injected")
        subject.recovered()
    subject.sound()
    assert hits >= NUM_FAILING, f"only {hits} calls were hit; the faults prove nothing"
    assert CLEAR & set(subject.answers), "no fault was ever answered with an error"
    record_property("figure", f"{NUM_FAILING} faults, {hits} calls hit: {_told(subject)}")


def _one_fault(subject: Subject, rng: Random, syscall: str, error: str, log: Path) -> int:
    when = rng.choice(["1", "2", "1+", "1..3", f"{rng.randrange(1, 8)}"])
    operations = [rng.choice([subject.submit, subject.upload]) for _ in range(4)]
    with faults.injected(subject.pid, syscall, error, when, log) as injection:
        for operation in operations:
            subject.try_one(operation)
    print(f"{syscall} {error} {when}: {injection.hits} hits, answers so far {dict(subject.answers)}")
    return injection.hits
