"""What this machine is and how much of it is ours: affinity, container quotas and memory limits count, not the label on the box.

Facts that follow from several sources carry `.why`, the source that decided. Read from Linux's own files (/proc, /sys); where
they are missing (another system), from the standard library and psutil.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Names as engines use them, and the flag of /proc/cpuinfo.
_INSTRUCTION_SETS = {
    "sse4_2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "amx_fp16": "amx_fp16",
    "neon": "asimd",
    "dotprod": "asimddp",
    "fp16": "asimdhp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True, slots=True)
class Fact:
    """A whole number and the source that decided it."""

    value: int
    why: str


@dataclass(frozen=True, slots=True)
class GPU:
    name: str
    memory_bytes: int
    driver: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """cores: threads that may run at once for us. memory_available: what can be taken now without pushing anything out."""

    cpu_model: str
    architecture: str
    cores: Fact
    instruction_sets: tuple[str, ...]
    memory_total_bytes: Fact
    memory_available_bytes: Fact
    gpus: tuple[GPU, ...]
    gpus_why: str


def detect(root: Path = Path("/"), *, affinity: int | None = None, gpu_query: str | None = None) -> Hardware:
    """Looks now. The arguments stand in for the machine in tests: a folder with proc/ and sys/, the number of cores that the
    affinity mask leaves, and nvidia-smi's answer."""
    cpu = _cpuinfo(root)
    allowed = _affinity() if affinity is None else affinity
    gpus, gpus_why = _gpus(gpu_query)
    total, available = _memory(root)
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    return Hardware(
        cpu_model=cpu.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=_cores(root, allowed),
        instruction_sets=tuple(name for name, flag in _INSTRUCTION_SETS.items() if flag in flags),
        memory_total_bytes=total,
        memory_available_bytes=available,
        gpus=gpus,
        gpus_why=gpus_why,
    )


def fingerprint(hardware: Hardware | None = None) -> str:
    """Sixteen hex digits that are the same for machines on which a measurement holds: processor, usable cores, instruction
    sets, GPUs, memory to the nearest power of two. Free memory and driver versions do not count."""
    found = hardware or _machine()
    kind = {
        "cpu": found.cpu_model,
        "architecture": found.architecture,
        "cores": found.cores.value,
        "instruction_sets": found.instruction_sets,
        "memory": round(math.log2(max(1, found.memory_total_bytes.value))),
        "gpus": [(gpu.name, gpu.memory_bytes) for gpu in found.gpus],
    }
    return hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]


def memory(root: Path = Path("/")) -> tuple[Fact, Fact]:
    """Total and available bytes now; cheap enough to be asked every second."""
    return _memory(root)


def cores(root: Path = Path("/")) -> Fact:
    """Threads that may run at once for us, now."""
    return _cores(root, _affinity())


@lru_cache(maxsize=1)
def _machine() -> Hardware:
    return detect()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    first = _text(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores(root: Path, allowed: int) -> Fact:
    """The affinity mask or the container's CPU quota, whichever is less. A fraction of a core is rounded down, one is kept."""
    quota, where = _cpu_quota(root)
    if quota is not None and quota < allowed:
        return Fact(max(1, int(quota)), f"CPU quota of {quota:g} cores in {where}; {allowed} are in the affinity mask")
    return Fact(allowed, f"{allowed} in the affinity mask, no smaller CPU quota")


def _groups(root: Path, controller: str) -> list[Path]:
    """This process's control groups for a controller and their parents: v2's one tree, v1's tree of the controller."""
    folders: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, names, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not names:
            base = root / "sys/fs/cgroup"
        elif controller in names.split(","):
            base = root / "sys/fs/cgroup" / controller
        else:
            continue
        inner = Path(path.lstrip("/"))
        folders.extend(base / part for part in (inner, *inner.parents))
    return list(dict.fromkeys(folders))


def _cpu_quota(root: Path) -> tuple[float | None, str]:
    """The smallest quota on the way up, in cores, and the file that says so."""
    found: list[tuple[float, str]] = []
    for folder in _groups(root, "cpu"):
        quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
        name = "cpu.max"
        if not quota:
            quota, period, name = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"), "cpu.cfs_quota_us"
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            found.append((int(quota) / int(period), str(folder / name)))
    return min(found, default=(None, ""))


def _memory(root: Path) -> tuple[Fact, Fact]:
    """Total and available bytes: the machine's, or what the container's limit leaves of them."""
    total, available, why = _machine_memory(root)
    facts = Fact(total, f"{why} total"), Fact(available, f"{why} available")
    for folder in _groups(root, "memory"):
        for limit_name, usage_name in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, usage = _text(folder / limit_name), _text(folder / usage_name)
            if not limit.isdecimal() or int(limit) >= _UNLIMITED_BYTES:
                continue
            cache = _reclaimable(folder)
            left = max(0, int(limit) - max(0, (int(usage) if usage.isdecimal() else 0) - cache))
            reason = f"memory limit in {folder / limit_name}"
            facts = (
                Fact(int(limit), reason) if int(limit) < facts[0].value else facts[0],
                Fact(left, f"{reason}, less what is used") if left < facts[1].value else facts[1],
            )
    return facts


def _reclaimable(folder: Path) -> int:
    """Bytes of the group's file cache that the kernel gives back when asked."""
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdecimal():
            return int(value)
    return 0


def _machine_memory(root: Path) -> tuple[int, int, str]:
    lines = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemTotal" in lines and "MemAvailable" in lines:
        total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        return total, available, "/proc/meminfo"
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available, "psutil"


def _gpus(answer: str | None) -> tuple[tuple[GPU, ...], str]:
    """NVIDIA GPUs as the driver's own tool lists them, and the reason when there are none."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    if answer is None:
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
        except FileNotFoundError:
            return (), "nvidia-smi is not installed"
        except (OSError, subprocess.SubprocessError) as problem:
            return (), f"nvidia-smi failed: {problem}"
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
    gpus = tuple(GPU(row[0], int(row[1]) << 20, row[2]) for row in rows if len(row) == 3 and row[1].isdecimal())
    return gpus, "nvidia-smi lists them" if gpus else "nvidia-smi lists none"
