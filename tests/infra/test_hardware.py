"""Hardware facts, on trees of proc/ and sys/ files made for the test, and once on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from llmos.infra.hardware import GPU, Fact, detect, fingerprint
from llmos.infra.measure import gemm_gflops, memory_bandwidth_gb_s

GIB = 1 << 30
CPUINFO = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512bw avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16

processor\t: 1
model name\t: another
flags\t\t: fpu
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    base = {"proc/cpuinfo": CPUINFO, "proc/meminfo": f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {40 * GIB // 1024} kB\n"}
    for name, text in {**base, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_plain_machine(tmp_path: Path) -> None:
    found = detect(tree(tmp_path, {}), affinity=8, gpu_query="")
    assert found.cpu_model == "Intel(R) Xeon(R) Platinum 8488C"
    assert found.cores == Fact(8, "8 in the affinity mask, no smaller CPU quota")
    assert {"avx2", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"} <= set(found.instruction_sets)
    assert (found.memory_total_bytes.value, found.memory_available_bytes.value) == (64 * GIB, 40 * GIB)
    assert found.memory_total_bytes.why == "/proc/meminfo total"


@pytest.mark.parametrize(
    ("quota", "cores"), [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("1600000 100000", 8), ("junk", 8)]
)
def test_cpu_quota_of_cgroup_2(tmp_path: Path, quota: str, cores: int) -> None:
    files = {"proc/self/cgroup": "0::/pod/container\n", "sys/fs/cgroup/pod/cpu.max": quota}
    found = detect(tree(tmp_path, files), affinity=8, gpu_query="")
    assert found.cores.value == cores
    assert ("pod/cpu.max" in found.cores.why) == (cores < 8)


def test_cpu_quota_of_cgroup_1(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n",
        "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000",
        "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
    }
    assert detect(tree(tmp_path, files), affinity=8, gpu_query="").cores.value == 3


def test_memory_limit_of_cgroup_2(tmp_path: Path) -> None:
    """The tightest limit on the way up counts; file cache that can be dropped is available."""
    files = {
        "proc/self/cgroup": "0::/pod/container\n",
        "sys/fs/cgroup/pod/container/memory.max": "max",
        "sys/fs/cgroup/pod/memory.max": str(8 * GIB),
        "sys/fs/cgroup/pod/memory.current": str(6 * GIB),
        "sys/fs/cgroup/pod/memory.stat": f"anon 1\ninactive_file {3 * GIB}\n",
    }
    found = detect(tree(tmp_path, files), affinity=2, gpu_query="")
    assert (found.memory_total_bytes.value, found.memory_available_bytes.value) == (8 * GIB, 5 * GIB)
    assert "pod/memory.max" in found.memory_total_bytes.why


def test_memory_limit_of_cgroup_1(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/x\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
        "sys/fs/cgroup/memory/x/memory.limit_in_bytes": str(4 * GIB),
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": str(1 * GIB),
    }
    found = detect(tree(tmp_path, files), affinity=2, gpu_query="")
    assert (found.memory_total_bytes.value, found.memory_available_bytes.value) == (4 * GIB, 3 * GIB)


@pytest.mark.parametrize(
    ("answer", "gpus"),
    [
        ("", ()),
        ("NVIDIA H200, 143771, 570.1\nNVIDIA H200, 143771, 570.1\n", (GPU("NVIDIA H200", 143771 << 20, "570.1"),) * 2),
        ("No devices were found\n", ()),
    ],
)
def test_gpus(tmp_path: Path, answer: str, gpus: tuple[GPU, ...]) -> None:
    assert detect(tree(tmp_path, {}), affinity=2, gpu_query=answer).gpus == gpus


def test_this_machine() -> None:
    found = detect()
    assert 1 <= found.cores.value <= (psutil.cpu_count() or 1)
    assert 0 < found.memory_available_bytes.value <= found.memory_total_bytes.value <= psutil.virtual_memory().total
    assert found.cpu_model and found.gpus_why


def test_nothing_readable_is_no_crash(tmp_path: Path) -> None:
    found = detect(tmp_path, affinity=2, gpu_query="")
    assert found.memory_total_bytes == Fact(psutil.virtual_memory().total, "psutil total")
    assert found.cpu_model


def test_fingerprint_is_of_the_kind_of_machine(tmp_path: Path) -> None:
    machine = detect(tree(tmp_path, {}), affinity=8, gpu_query="")
    same = replace(machine, memory_available_bytes=Fact(1, "busy"), memory_total_bytes=Fact(64 * GIB - 12345, "kernel takes some"))
    assert fingerprint(machine) == fingerprint(same)
    for other in (
        replace(machine, cores=Fact(4, "")),
        replace(machine, cpu_model="AMD EPYC"),
        replace(machine, instruction_sets=("avx2",)),
        replace(machine, memory_total_bytes=Fact(16 * GIB, "")),
        replace(machine, gpus=(GPU("NVIDIA H200", 1, ""),)),
    ):
        assert fingerprint(other) != fingerprint(machine)
    assert fingerprint() == fingerprint() and len(fingerprint()) == 16


def test_measurements_are_plausible() -> None:
    assert 0.1 < memory_bandwidth_gb_s(seconds=0) < 10_000
    assert 0.1 < gemm_gflops(seconds=0) < 1_000_000
