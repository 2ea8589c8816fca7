"""`llmos doctor`: what this machine has, what LLMOS can use of it, what is wrong and how to mend it.

Engines are told, not looked for (they live in a layer above). Everything else is looked up here, hubs at the same time and
for three seconds each at most. The report is data; the CLI prints it, `--json` dumps it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmos.errors import LLMOSError
from llmos.infra import measure as measuring
from llmos.infra.address import shown
from llmos.infra.database import open_database
from llmos.infra.fetch import Fetcher
from llmos.infra.files import free_disk_bytes, make_dir
from llmos.infra.hardware import Hardware, detect, fingerprint
from llmos.settings import Settings

HUB_TIMEOUT_S = 3.0
LOW_DISK_BYTES = 5 * 10**9
LOW_MEMORY_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class EngineFact:
    """One backend. install: the command that brings it, or "" when it is there. problem: why an installed one does not work."""

    name: str
    installed: bool
    version: str = ""
    install: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to mend. fix: what to do or type."""

    what: str
    fix: str


@dataclass(slots=True)
class Section:
    """Facts in the order to show them: name, value (text, number, bool or None), and why or ""."""

    title: str
    facts: list[tuple[str, Any, str]] = field(default_factory=list)

    def add(self, name: str, value: Any, why: str = "") -> None:
        self.facts.append((name, value, why))


@dataclass(slots=True)
class Report:
    sections: list[Section]
    problems: list[Problem]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: section title -> fact name -> {"value", "why"}; and the problems."""
        return {
            "sections": {
                section.title: {name: {"value": value, "why": why} for name, value, why in section.facts}
                for section in self.sections
            },
            "problems": [asdict(problem) for problem in self.problems],
        }


def doctor(settings: Settings, *, engines: Sequence[EngineFact] = (), measure: bool = True, hubs: bool = True) -> Report:
    """Looks at everything. measure=True takes about two seconds more; hubs=False opens no connection. Never raises for what
    it finds: that is a Problem."""
    problems: list[Problem] = []
    answers = _Hubs(settings) if hubs else None  # asked while the rest is looked at
    hardware = detect()
    sections = [
        _program(problems),
        _processor(hardware, measure),
        _memory(hardware, problems),
        _engines(engines, problems),
        _home(settings, problems),
    ]
    if answers is not None:
        sections.append(answers.section(problems))
    return Report(sections, problems)


def _program(problems: list[Problem]) -> Section:
    section = Section("program")
    section.add("llmos", importlib.metadata.version("llmos"))
    section.add("python", platform.python_version(), sys.executable)
    section.add("system", platform.platform())
    if sys.platform != "linux":
        problems.append(Problem(f"LLMOS is tested on Linux; this is {sys.platform}.", "Expect rough edges, and report them."))
    return section


def _processor(hardware: Hardware, measure: bool) -> Section:
    section = Section("processor")
    section.add("model", hardware.cpu_model)
    section.add("cores", hardware.cores.value, hardware.cores.why)
    section.add("instruction sets", ", ".join(hardware.instruction_sets))
    for number, gpu in enumerate(hardware.gpus):
        section.add(f"gpu {number}", gpu.name, f"{gpu.memory_bytes:,} bytes, driver {gpu.driver}")
    if not hardware.gpus:
        section.add("gpu", None, hardware.gpus_why)
    section.add("fingerprint", fingerprint(hardware), "measurements are kept for machines of this kind")
    if measure:
        section.add("memory bandwidth GB/s", round(measuring.memory_bandwidth_gb_s(), 1), "measured, copying with all cores")
        section.add("GEMM GFLOP/s", round(measuring.gemm_gflops(), 1), "measured, numpy float32 1024 x 1024")
    return section


def _memory(hardware: Hardware, problems: list[Problem]) -> Section:
    section = Section("memory")
    total, available = hardware.memory_total_bytes, hardware.memory_available_bytes
    section.add("total bytes", total.value, total.why)
    section.add("available bytes", available.value, available.why)
    if available.value < LOW_MEMORY_BYTES:
        problems.append(
            Problem(
                f"Only {available.value:,} bytes of memory are available; a small model needs about {LOW_MEMORY_BYTES:,}.",
                "Close other programs, or raise the container's memory limit.",
            )
        )
    return section


def _engines(engines: Sequence[EngineFact], problems: list[Problem]) -> Section:
    section = Section("engines")
    for engine in engines:
        section.add(engine.name, engine.version if engine.installed else None, engine.problem or engine.install)
        if engine.installed and engine.problem:
            fix = engine.install or "Install it again."
            problems.append(Problem(f"The engine {engine.name} is installed but does not work: {engine.problem}", fix))
    if engines and not any(engine.installed and not engine.problem for engine in engines):
        command = next((engine.install for engine in engines if engine.install), "pip install llmos")
        problems.append(Problem("No engine is installed, so that no model can run here.", command))
    return section


def _home(settings: Settings, problems: list[Problem]) -> Section:
    section = Section("home")
    section.add("folder", str(settings.home))
    section.add("database", "PostgreSQL" if (settings.database_url or "").startswith("postgres") else "SQLite")
    section.add("Hugging Face cache", str(settings.hub_cache), "is there" if settings.hub_cache.is_dir() else "is not there")
    free = free_disk_bytes(settings.home)
    section.add("free disk bytes", free)
    if free < LOW_DISK_BYTES:
        what = f"Only {free:,} bytes are free on the disk of {settings.home}."
        problems.append(Problem(what, "Free some space (`llmos gc`), or set LLMOS_HOME to a folder on another disk."))
    try:
        _try_home(settings.home)
        open_database(settings).close()
    except OSError as problem:
        fix = "Make it writable, or set LLMOS_HOME to a folder of yours."
        problems.append(Problem(f"{settings.home} cannot be written: {problem.strerror}.", fix))
    except LLMOSError as problem:
        problems.append(Problem(problem.message, problem.hint))
    return section


def _try_home(home: Path) -> None:
    trial = make_dir(home) / f".doctor-{os.getpid()}"
    trial.touch()
    trial.unlink()


class _Hubs:
    """The configured hubs, each asked in a thread of its own that nobody waits for longer than the time-out."""

    def __init__(self, settings: Settings) -> None:
        named = {"ModelScope": settings.modelscope_endpoint, "package index": settings.pypi_index}
        if not settings.hf_hub_offline:
            named = {"Hugging Face": settings.hf_endpoint, **named}
        if settings.openai_base_url:
            named["remote endpoint"] = settings.openai_base_url
        self._urls = named
        self._answers: dict[str, tuple[bool, str]] = {}
        self._threads = [
            threading.Thread(target=self._ask, args=(settings, name), daemon=True, name=f"doctor {name}") for name in named
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, settings: Settings, name: str) -> None:
        with Fetcher(settings) as fetcher:
            self._answers[name] = fetcher.reachable(self._urls[name], timeout_s=HUB_TIMEOUT_S)

    def section(self, problems: list[Problem]) -> Section:
        for thread in self._threads:
            thread.join(timeout=HUB_TIMEOUT_S)
        section = Section("hubs")
        if "Hugging Face" not in self._urls:
            section.add("Hugging Face", None, "not asked: HF_HUB_OFFLINE is set")
        for name, url in self._urls.items():
            reached, reason = self._answers.get(name, (False, f"no answer within {HUB_TIMEOUT_S:g} s"))
            section.add(name, reached, f"{shown(url)}: {reason}")
        if not any(value for _, value, _ in section.facts):
            what = "No hub can be reached; models that are not on this machine cannot be fetched."
            problems.append(Problem(what, "Check the network and HTTPS_PROXY, or set HF_ENDPOINT to a mirror that can be reached."))
        return section
