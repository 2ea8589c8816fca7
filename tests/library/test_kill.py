"""P3: after a kill in the middle of anything the library does, its state is old or new, never mixed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmos.library.library import Library
from tests.hub.server import Hub
from tests.promises.levels import quick_or_full, seeded

NUM_KILLS = quick_or_full(25, 500)
WORK = """
import itertools, sys
from llmos.library.library import Library
from llmos.settings import Settings
library = Library.open(Settings.from_env())
print("ready", flush=True)
for n in itertools.count():
    library.pull("bert-base-uncased")
    library.alias("prod", "bert-base-uncased", str(n))
    library.import_path(sys.argv[1], name="copy")
    library.pull("t5-base")
    library.remove("t5-base")
    library.unalias("prod")
    library.remove("copy")
    library.remove("bert-base-uncased")
    print("round", flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(quick_or_full(300, 3600))
def test_killed_at_any_moment(
    make_library: Callable[..., Library], hub: Hub, record_property: Callable[[str, object], None]
) -> None:
    library = make_library(HF_ENDPOINT=hub.url)
    home = library.settings.home
    chooser = seeded("P3")
    states = set()
    with _worker(home, hub) as child:
        begin = time.monotonic()
        assert child.stdout is not None
        assert child.stdout.readline() == "round\n"
        round_s = min(time.monotonic() - begin, 5.0)  # kills are spread over one round, or its first steps on a busy machine
        child.kill()
    for _ in range(NUM_KILLS):
        _kill_in_the_middle(home, hub, chooser.uniform(0.0, round_s))
        states.add(_check(library))
    assert len(states) > 1, "every kill met the library in the same state; the kills prove nothing"
    record_property("figure", f"{NUM_KILLS} kills, {len(states)} different states met, none mixed")
    library.gc()
    assert library.gc(dry_run=True).freed_bytes == 0
    assert all(verdict.ok for verdict in library.verify(library.pull("bert-base-uncased").name))


@contextmanager
def _worker(home: Path, hub: Hub) -> Iterator[subprocess.Popen[str]]:
    """A process that changes the library without end; it has begun."""
    environ = {"LLMOS_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "no-cache"), "PATH": "/usr/bin:/bin"}
    folder = hub.repos["google-bert/bert-base-uncased"].folder
    command = [sys.executable, "-c", WORK, str(folder)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child


def _kill_in_the_middle(home: Path, hub: Hub, after_s: float) -> None:
    with _worker(home, hub) as child:
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL


def _check(library: Library) -> tuple[str, ...]:
    """Every model there is whole to the last byte, every blob has the hash it is named by, every alias has its history."""
    for card in library.list():
        assert library.resolve(f"{card.name}:{card.version}").card == card
        assert all(verdict.ok for verdict in library.verify(f"{card.name}:{card.version}"))
    for sha256 in library.store.blobs:
        assert library.store.blobs.verify(sha256)
    for name, target in library.aliases().items():
        assert library.alias_history(name)[0].target == target
    return (*(card.name for card in library.list()), *library.aliases())
