"""What a full server does, and what it costs that processes take turns with the cores.

    server       `llmos serve` with SmolLM2 and its default limits. Time to first text for one client alone (idle), for as many clients
                 as there are slots (capacity), and at ten times the requests a second that capacity served (overload), of the
                 requests that were let in; for the refused, the time of the refusal. Overload counts once the queue of the first
                 seconds is served; memory is that of all processes of the server
    two engines  two engine processes with work at the same time: tokens/s of both together, taking turns and not
    lease        processor time of one step that nobody else wants

In: nothing. Out: a table, benchmarks/results/overload.json.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.load import Reply, closed_loop, open_loop, percentile, resident_bytes
from benchmarks.report import finish, load, print_table, wait_until_quiet
from benchmarks.serving import serving

MODEL = "smollm2-135m-instruct"
TOKENS = 32
TIMES = 10
PAIRS = (("llamacpp", "llamacpp"), ("openvino", "llamacpp"))
WORDS = ["river", "stone", "market", "morning", "window", "paper", "garden", "winter", "bridge", "letter", "music", "story"]


def body(number: int) -> dict[str, Any]:
    text = " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(30))
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{number}: tell a story about {text}."}],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }


# -- the server --------------------------------------------------------------------------------------------------------
class Memory:
    """Looks twice a second at the memory of a server with all its processes; `peak_bytes` is the most that was seen."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self.peak_bytes = self.now()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self) -> int:
        import psutil

        return resident_bytes([self._pid, *(one.pid for one in psutil.Process(self._pid).children(recursive=True))])

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, self.now())

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def first_ms(replies: list[Reply]) -> dict[str, float]:
    """Of those that were answered."""
    seconds = [one.first_s for one in replies if one.status == 200 and one.first_s is not None]
    return {"p50": round(percentile(seconds, 0.5) * 1e3), "p99": round(percentile(seconds, 0.99) * 1e3)}


async def overload(port: int, pid: int, seconds: float) -> dict[str, Any]:
    from llmos.server.limits import Limits

    slots = Limits().slots
    await closed_loop(port, body, clients=1, seconds=2)
    await closed_loop(port, body, clients=slots, seconds=seconds / 6)
    idle = await closed_loop(port, body, clients=1, seconds=seconds / 6)
    begun = time.monotonic()
    capacity = await closed_loop(port, body, clients=slots, seconds=seconds / 3)
    rate = len(capacity) / (time.monotonic() - begun)
    settled_s = 2 * (Limits().queue + slots) / rate
    with Memory(pid) as memory:
        before = memory.now()
        flood = await open_loop(port, body, rate=TIMES * rate, seconds=settled_s + seconds)
    late = [one for one in flood if one.at > flood[0].at + settled_s]
    refused = [one.total_s for one in late if one.refused]
    return {
        "requests_per_s_at_capacity": round(rate, 2),
        "requests_per_s_at_overload": round(len(late) / seconds, 1),
        "settled_after_s": round(settled_s, 1),
        "ttft_idle_ms": first_ms(idle),
        "ttft_capacity_ms": first_ms(capacity),
        "ttft_overload_ms": first_ms(late),
        "accepted_per_s": round(sum(one.status == 200 for one in late) / seconds, 2),
        "refusal_ms": {"p50": round(percentile(refused, 0.5) * 1e3, 1), "p99": round(percentile(refused, 0.99) * 1e3, 1)},
        "other_answers": sum(one.status != 200 and not one.refused for one in flood),
        "memory_growth_mb": round((memory.peak_bytes - before) / 2**20),
    }


# -- two engines -------------------------------------------------------------------------------------------------------
def two_engines(backends: tuple[str, str], seconds: float, *, turns: bool) -> float:
    """Tokens/s of both together, each with four requests at a time."""
    from dataclasses import replace

    from llmos.engine.loading import Loader
    from llmos.library.library import Library
    from llmos.settings import Settings

    settings = Settings.from_env()
    resolved = Library.open(settings).resolve(MODEL)
    loader = Loader(settings, inline=False, notify=lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        options = replace(loader.options(resolved.card), run_folder=Path(folder) if turns else None)
        engines = [
            loader.load(resolved.card, resolved.folder, way, options)
            for name in backends
            for way in loader.ranking(resolved, frozenset(), "decode", wanted=name)[:1]
        ]
        for engine in engines:
            _write(engine, 1.0)
        counts = [0, 0]

        def work(place: int) -> None:
            counts[place] = _write(engines[place], seconds)

        threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for engine in engines:
            engine.close()
    return sum(counts) / seconds


def _write(engine: Any, seconds: float, at_once: int = 4) -> int:
    """Tokens that were written within the time, by `at_once` requests that follow each other."""
    import uuid

    from llmos.engine.base import Request
    from llmos.types import Sampling

    end, written = time.monotonic() + seconds, [0] * at_once

    def ask(place: int) -> None:
        while time.monotonic() < end:
            prompt = tuple(1000 + (place * 97 + step * 13) % 30000 for step in range(32))
            sampling = Sampling(max_tokens=64, ignore_eos=True, temperature=0)
            for chunk in engine.submit(Request(id=uuid.uuid4().hex, prompt=prompt, sampling=sampling)):
                written[place] += len(chunk.token_ids) if time.monotonic() < end else 0

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(written)


def lease_us(repeats: int = 10_000) -> float:
    """Processor time of an empty step; the best of five, so that what else the machine does does not count."""
    from llmos.kernel.compute import Compute

    with tempfile.TemporaryDirectory() as folder:
        compute, best = Compute(Path(folder)), float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(repeats):
                with compute.step():
                    pass
            best = min(best, (time.process_time() - began) / repeats)
        compute.close()
    return round(best * 1e6, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload; the rest follows from it")
    seconds = parser.parse_args().seconds
    subprocess.run([sys.executable, "-m", "llmos", "pull", MODEL], check=True, stdout=subprocess.DEVNULL)
    busy = wait_until_quiet()
    with serving() as (port, pid):
        server = asyncio.run(overload(port, pid, seconds))
    pairs = {}
    for pair in PAIRS:
        apart, together = (two_engines(pair, seconds / 3, turns=turns) for turns in (False, True))
        pairs["+".join(pair)] = {"at_once_tokens_per_s": round(apart, 1), "in_turn_tokens_per_s": round(together, 1)}
    result = {"server": server, "two_engines": pairs, "lease_us": lease_us()}
    over, full = server["ttft_overload_ms"], server["ttft_capacity_ms"]
    rows = [
        ("accepted TTFT p99, ms", over["p99"], f"{3 * full['p99']} (3x capacity)"),
        ("accepted TTFT p50, ms", over["p50"], "-"),
        ("refusal p99, ms", server["refusal_ms"]["p99"], "50"),
        ("memory growth, MB", server["memory_growth_mb"], "256"),
        *(
            (f"two engines {name}, tokens/s", one["in_turn_tokens_per_s"], one["at_once_tokens_per_s"])
            for name, one in pairs.items()
        ),
        ("lease, us", result["lease_us"], "20"),
    ]
    print_table(("figure", "measured", "goal or other"), rows)
    finish("overload", {"model": MODEL, "busy_before": busy, "load_after": load(), **result})


if __name__ == "__main__":
    main()
