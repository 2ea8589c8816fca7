"""`make promises`: runs the tests of every promise and writes what came of it to build/promises/ (report.md, report.json).

    python -m tests.promises.report --level full            all; --only P5,P7 for some
    promise | level | result | figure                        the figure is what a test told with record_property("figure", …)

Each promise runs in a process of its own, so that one that crashes takes no other along. Exit status 1 when one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "promises"
LATER = "later"


@dataclass(frozen=True, slots=True)
class Promise:
    """tests: paths below the root, globs allowed; () for one that a later release makes. words: an expression for pytest -k."""

    name: str
    what: str
    tests: tuple[str, ...] = ()
    words: str = ""


# The order and the words of docs/promises.md.
PROMISES = (
    Promise("P1", "jobs survive SIGKILL: none lost, none recorded twice, none stuck", ("tests/promises/test_p01*.py",)),
    Promise("P2", "batches: exactly one line an item, redone at most what was in flight", ("tests/promises/test_p02*.py",)),
    Promise("P3", "library: old or new after a kill, never mixed", ("tests/library/test_kill.py",)),
    Promise("P4", "training resumes from the newest checkpoint"),
    Promise("P5", "no acknowledgement before fsync", ("tests/promises/test_p05*.py",)),
    Promise("P6", "the same under kills during recovery", ("tests/promises/test_p06*.py",)),
    Promise("P7", "disk full, EIO, EMFILE: clear error, nothing corrupt, no restart", ("tests/promises/test_p07*.py",)),
    Promise("P8", "a worker that woke up too late records nothing", ("tests/promises/test_p08*.py",)),
    Promise(
        "P9", "bad requests get a 4xx that names the field", ("tests/server/test_bad_requests.py", "tests/promises/test_p09*.py")
    ),
    Promise("P10", "parsers: no crash, no hang, no memory", ("tests/fuzz/test_fuzz.py",)),
    Promise("P11", "a verdict on any model file in time", ("tests/library/test_inspect.py",)),
    Promise("P12", "10x overload: quick honest refusals, accepted requests stay quick", ("tests/promises/test_p12*.py",)),
    Promise("P13", "one key's flood does not slow another key", ("tests/promises/test_p13*.py",)),
    Promise("P14", "a disconnect frees its slot", ("tests/promises/test_p14*.py", "tests/server/test_streams.py")),
    Promise("P15", "slow headers, bodies and readers are cut off", ("tests/promises/test_p15*.py",)),
    Promise("P16", "SIGTERM: drained and gone in time", ("tests/promises/test_p16*.py",)),
    Promise(
        "P17",
        "a dead engine takes nothing along and comes back",
        ("tests/promises/test_p17*.py", "tests/engine/test_supervisor.py", "tests/conformance/test_engine_death.py"),
    ),
    Promise("P18", "memory, descriptors and threads stay flat", ("tests/promises/test_p18*.py",)),
    Promise("P19", "model files with code in them are refused by content", ("tests/library/formats/test_content.py",)),
    Promise("P20", "hostile chat templates stay inside", ("tests/text/test_render.py",)),
    Promise("P21", "archives: nothing outside, expansion capped"),
    Promise(
        "P22", "no request of the server reaches private addresses", ("tests/infra/test_address.py", "tests/infra/test_fetch.py")
    ),
    Promise("P23", "foreign pages and hosts change nothing", ("tests/server/test_gate.py",)),
    Promise("P24", "texts of models run no script in a browser"),
    Promise("P25", "every route refuses a bad key", ("tests/promises/test_p25*.py",)),
    Promise("P26", "quotas hold, also over a restart", ("tests/promises/test_p26*.py",)),
    Promise("P27", "audit: every change and refusal, edits detected", ("tests/promises/test_p27*.py",)),
    Promise("P28", "secrets never in logs, traces, metrics, errors", ("tests/promises/test_p28*.py", "tests/infra/test_logs.py")),
    Promise("P29", "tools: no side effect outside the allow-list"),
    Promise("P30", "code execution stays in its box"),
    Promise("P31", "no project reads another's things", ("tests/promises/test_p31*.py",)),
    Promise("P32", "nothing is sent at import or an idle start"),
    Promise("P33", "state of earlier releases opens", ("tests/infra/test_database.py",)),
    Promise("chaos", "a live service whose processes die at random", ("tests/promises/chaos",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """result: passed, failed, skipped, later (a later release makes it) or missing (its test is not there)."""

    promise: str
    what: str
    level: str
    result: str
    figures: list[str]
    seconds: float
    why: str = ""


def paths_of(promise: Promise, root: Path = ROOT) -> list[str]:
    return [str(path.relative_to(root)) for pattern in promise.tests for path in sorted(root.glob(pattern))]


def run(promise: Promise, level: str, out: Path = OUT, root: Path = ROOT) -> Outcome:
    """Runs its tests; the log stays in `out`, beside the report."""
    paths = paths_of(promise, root)
    if not paths:
        return judged(promise, level, LATER if not promise.tests else "missing", 0.0)
    xml, log = out / f"{promise.name}.xml", out / f"{promise.name}.log"
    xml.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", f"--junitxml={xml}", "-o", "junit_family=xunit1", *paths]
    command += ["-k", promise.words] if promise.words else []
    begin = time.monotonic()
    with log.open("wb") as file:
        env = os.environ | {"LLMOS_PROMISES": level}
        status = subprocess.run(command, cwd=root, env=env, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - begin
    if not xml.exists():
        return judged(promise, level, "failed", seconds, why=f"pytest ended with {status}; see {log.name}")
    return read(promise, level, xml.read_text(), status, seconds)


def read(promise: Promise, level: str, xml: str, status: int, seconds: float) -> Outcome:
    """The outcome from pytest's own record. Nothing passed is no success."""
    cases = ElementTree.fromstring(xml).iter("testcase")
    figures: list[str] = []
    failed: list[str] = []
    skipped: list[str] = []
    passed = 0
    for case in cases:
        name = str(case.get("name"))
        figures += [str(one.get("value")) for one in case.iter("property") if one.get("name") == "figure"]
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif (skip := case.find("skipped")) is not None:
            skipped.append(f"{name}: {skip.get('message', '')}")
        else:
            passed += 1
    if failed or status not in (0, 5):
        why = ", ".join(failed) or f"pytest ended with {status}"
        return judged(promise, level, "failed", seconds, figures, why)
    why = f"skipped: {'; '.join(skipped)}" if skipped else ""
    return judged(
        promise, level, "passed" if passed else "skipped", seconds, figures or ([f"{passed} tests"] if passed else []), why
    )


def judged(promise: Promise, level: str, result: str, seconds: float, figures: Sequence[str] = (), why: str = "") -> Outcome:
    return Outcome(
        promise=promise.name,
        what=promise.what,
        level=level,
        result=result,
        figures=list(figures),
        seconds=round(seconds, 1),
        why=why,
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown, a line a promise."""
    lines = ["| promise | what | level | result | figure |", "|---|---|---|---|---|"]
    for one in outcomes:
        told = "; ".join([*one.figures, *([one.why] if one.why else [])]).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {one.promise} | {one.what} | {one.level} | {one.result} | {told} |")
    return "\n".join(lines)


def write(outcomes: Sequence[Outcome], level: str, out: Path = OUT) -> Path:
    """report.md and report.json; returns the first."""
    facts = {
        "level": level,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    (out / "report.md").write_text(f"# Promises\n\n{head}\n\n{table(outcomes)}\n")
    (out / "report.json").write_text(json.dumps({**facts, "promises": [asdict(one) for one in outcomes]}, indent=2) + "\n")
    return out / "report.md"


def _commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests of the promises and write a report.")
    parser.add_argument("--level", choices=("quick", "full"), default="full")
    parser.add_argument("--only", default="", help="names, separated by commas: P5,P7,chaos")
    options = parser.parse_args()
    only = {name.strip() for name in options.only.split(",") if name.strip()}
    known = {promise.name for promise in PROMISES}
    if unknown := only - known:
        parser.error(f"there is no promise {', '.join(sorted(unknown))}; known: {', '.join(promise.name for promise in PROMISES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for promise in PROMISES:
        if not only or promise.name in only:
            print(f"{promise.name} {promise.what} …", file=sys.stderr, flush=True)
            outcomes.append(run(promise, options.level))
            print(f"{promise.name} {outcomes[-1].result} ({outcomes[-1].seconds:g} s)", file=sys.stderr, flush=True)
            write(outcomes, options.level)  # what is known so far survives a kill of this run too
    print(table(outcomes))
    print(json.dumps({"level": options.level, **{one.promise: one.result for one in outcomes}}))
    return 1 if any(one.result in ("failed", "missing") for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
