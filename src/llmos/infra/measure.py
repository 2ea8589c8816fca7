"""What this machine's memory and arithmetic really give, in about two seconds, with numpy.

Writing one token reads every weight once, so memory bandwidth bounds decoding; reading a prompt multiplies matrices, so GEMM
speed bounds prefill. `llmos doctor` shows both; nothing is decided by them (engines are measured themselves).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from llmos.infra.hardware import detect

_BUFFER_BYTES = 192 << 20  # well over any last-level cache, in all threads together
_GEMM_SIDE = 1024


def memory_bandwidth_gb_s(*, seconds: float = 0.8) -> float:
    """Best of several passes of copying between two buffers with all usable cores, in 10^9 bytes a second, read plus
    written (STREAM's "copy", McCalpin 1995)."""
    import numpy as np

    num_threads = detect(gpu_query="").cores.value
    length = _BUFFER_BYTES // 8 // num_threads
    pairs = [(np.ones(length), np.zeros(length)) for _ in range(num_threads)]
    with ThreadPoolExecutor(num_threads) as pool:
        best_s = _best_s(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)), seconds)
    return 2 * 8 * length * num_threads / best_s / 1e9


def gemm_gflops(*, seconds: float = 0.8) -> float:
    """Best of several products of two 1024 x 1024 float32 matrices, in 10^9 operations a second."""
    import numpy as np

    left = np.full((_GEMM_SIDE, _GEMM_SIDE), 0.5, dtype=np.float32)
    right = np.full((_GEMM_SIDE, _GEMM_SIDE), 0.25, dtype=np.float32)
    out = np.empty_like(left)
    best_s = _best_s(lambda: np.matmul(left, right, out=out), seconds)
    return float(2 * _GEMM_SIDE**3 / best_s / 1e9)


def _best_s(work: Callable[[], object], seconds: float) -> float:
    """The shortest of at least three passes; as many as fit into `seconds`."""
    start, best_s, passes = time.perf_counter(), float("inf"), 0
    while passes < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - before)
        passes += 1
    return best_s
