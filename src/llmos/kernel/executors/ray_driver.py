"""The process that is a runner's driver in a Ray cluster: it starts an actor for each attempt and carries messages to it and back.

    python -P -m llmos.kernel.executors.ray_driver FD PARENT_PID ADDRESS SILENCE_S

It speaks ray_frames.py over the socket whose descriptor it is given. It ends with its parent (the kernel kills it), and Ray ends the
actors of a driver that is gone. Ray may end it at any time, when the cluster goes away; ray.py sees to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from typing import Any, NoReturn

import msgspec
import ray
from ray.exceptions import ActorUnavailableError, RayError

from llmos.errors import LLMOSError, OverCapacity
from llmos.kernel.child import bind_to_parent
from llmos.kernel.executors.ray_actor import Place
from llmos.kernel.executors.ray_frames import (
    MAX_FRAME_BYTES,
    FromDriver,
    Here,
    More,
    Open,
    Stop,
    Tell,
    Told,
    frame,
    options,
    to_driver,
)
from llmos.kernel.messages import Beat, Ended, Event, News, Problem, ToRunner, decode_to_runner, encode

NODE_WAIT_S = 60.0  # for a node that is large enough, when the cluster has none: it may come back, or be added
NODE_GONE_S = 3.0  # after an actor was lost, for the cluster to know whether its node was
RETRY_S = 0.5
LOOK_S = 5.0  # how often it looks whether the cluster could take what waits
CONNECT_S = 5.0
KILL_S = 3.0  # for a place to say that its processes are gone


def main() -> NoReturn:
    bind_to_parent(int(sys.argv[2]))
    runner = socket.socket(fileno=int(sys.argv[1]))
    try:
        knock(sys.argv[3])
        ray.init(address=sys.argv[3], namespace="llmos", log_to_driver=False, logging_level="error")
    except Exception as problem:  # noqa: BLE001 - the last line it says is the reason
        sys.exit(" ".join(str(problem).split()) or type(problem).__name__)
    with contextlib.suppress(ConnectionError):
        asyncio.run(Driver(float(sys.argv[4])).run(runner))
    ray.shutdown()  # ends the actors
    sys.stderr.flush()
    os._exit(0)


def knock(address: str) -> None:
    """Raises OSError at once where nobody listens; Ray itself would ask for a long time."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


class Driver:
    """silence_s: after that long without it, an actor ends by itself."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._attempts: dict[int, Remote] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._actor = ray.remote(Place)

    async def run(self, runner: socket.socket) -> None:
        """Until the runner closes."""
        reader, self._writer = await asyncio.open_connection(sock=runner, limit=MAX_FRAME_BYTES)
        self.say(Here())
        while line := await reader.readline():
            match to_driver(line):
                case Open() as opened:
                    self._attempts[opened.attempt] = attempt = Remote(opened, self)
                    task = asyncio.create_task(attempt.run())
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case Tell(attempt=number, message=message):
                    if number in self._attempts:
                        self._attempts[number].tell(bytes(message))
                case More(attempt=number):
                    if number in self._attempts:
                        self._attempts[number].credit.set()
                case Stop(attempt=number, kill=kill):
                    if number in self._attempts:
                        self._attempts[number].stop(kill)

    def say(self, what: FromDriver) -> None:
        self._writer.write(frame(what))

    def forget(self, number: int) -> None:
        self._attempts.pop(number, None)

    def place(self, asked: dict[str, Any]) -> Any:
        return self._actor.options(**asked).remote(self._silence_s)


class Remote:
    """One attempt: its actor, and what is on the way to it. credit: the runner can take more."""

    def __init__(self, opened: Open, driver: Driver) -> None:
        self.credit = asyncio.Event()
        self._opened, self._driver = opened, driver
        self._outbox: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._dropped = asyncio.Event()  # what has not begun need not begin
        self._killed = asyncio.Event()
        self._actor: Any = None
        self._where = ""
        self._node_id = ""

    def tell(self, message: bytes) -> None:
        self._dropped.set()
        self._outbox.put_nowait(("tell", message))

    def stop(self, kill: bool) -> None:
        self._dropped.set()
        self._outbox.put_nowait(("stop", kill))
        if kill:
            self._killed.set()

    async def run(self) -> None:
        """From the actor's creation to Ended."""
        last: list[ToRunner] = []
        try:
            last = [await self._carry() if await self._begin() else Ended("it had not begun")]
        except LLMOSError as problem:
            last = [Problem(0, problem.code, problem.message, problem.param, problem.hint, True), Ended("it could not be started")]
        except RayError as problem:
            last = [await self._obituary(problem)]
        except Exception as problem:  # noqa: BLE001 - it is told to the runner
            last = [Ended(f"the cluster failed: {type(problem).__name__}: {problem}"[:2000])]
        finally:
            self._driver.forget(self._opened.attempt)
            if self._actor is not None:
                with contextlib.suppress(Exception):
                    await asyncio.to_thread(ray.kill, self._actor)
        self._say([message for message in last if not (isinstance(message, Ended) and not message.how)])

    def _say(self, messages: list[ToRunner]) -> None:
        self._tell([encode(message) for message in messages])

    def _tell(self, lines: list[bytes]) -> None:
        if lines:
            self.credit.clear()
            self._driver.say(Told(self._opened.attempt, [msgspec.Raw(line) for line in lines], self._where))

    # -- until it runs -------------------------------------------------------------------------------------------------
    async def _begin(self) -> bool:
        """Waits until the cluster has a place for it. False when it is not wanted any more."""
        nodes = await asyncio.to_thread(alive_nodes)
        most_cores = max((node["Resources"].get("CPU", 0.0) for node in nodes), default=0.0)
        asked = options(self._opened, most_cores)
        self._warn(shortage(asked, nodes))
        self._actor = await asyncio.to_thread(self._driver.place, asked)
        started, dropped = asyncio.ensure_future(self._start()), asyncio.ensure_future(self._dropped.wait())
        end = time.monotonic() + NODE_WAIT_S
        try:
            while True:
                every_s = min(self._opened.heartbeat_s, LOOK_S)
                await asyncio.wait({started, dropped}, timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
                if started.done():
                    self._where, self._node_id = started.result()
                    self._say([Beat()])
                    return True
                if dropped.done():
                    return False
                self._say([Beat()])
                lack = shortage(asked, await asyncio.to_thread(alive_nodes))
                if not lack:
                    end = time.monotonic() + NODE_WAIT_S
                elif time.monotonic() > end:
                    raise OverCapacity(lack, hint="Ask for less, or add a node.")
        finally:
            for task in (started, dropped):
                task.cancel()

    def _warn(self, lack: str) -> None:
        if lack:
            text = f"{lack} It waits {NODE_WAIT_S:g} s for one."
            self._say([News([Event("log", {"level": "warning", "text": text})])])

    async def _start(self) -> tuple[str, str]:
        where: tuple[str, str] = await self._actor.start.remote(bytes(self._opened.order), msgspec.json.encode(self._opened.facts))
        return where

    # -- while it runs -------------------------------------------------------------------------------------------------
    async def _carry(self) -> Ended:
        """Brings what it says to the runner until that was Ended, which is then told already: Ended("")."""
        sender = asyncio.create_task(self._send())
        killed = asyncio.create_task(self._kill())
        listener = asyncio.create_task(self._listen())
        try:
            await asyncio.wait({killed, listener}, return_when=asyncio.FIRST_COMPLETED)
            if listener.done():
                return listener.result()
            return Ended("it was killed, and its node did not answer")
        finally:
            for task in (sender, killed, listener):
                task.cancel()

    async def _listen(self) -> Ended:
        taken = 0
        while True:
            try:
                lines: list[bytes] = await self._actor.take.remote(taken)
            except ActorUnavailableError:  # it may come back; until then nothing is heard of it
                await asyncio.sleep(RETRY_S)
                continue
            taken += len(lines)
            self._tell(lines)
            if lines and isinstance(decode_to_runner(lines[-1]), Ended):
                return Ended("")
            if lines:
                await self.credit.wait()

    async def _send(self) -> None:
        while True:
            method, argument = await self._outbox.get()
            while True:
                try:
                    await getattr(self._actor, method).remote(argument)
                    break
                except ActorUnavailableError:
                    await asyncio.sleep(RETRY_S)
                except RayError:
                    return  # it is gone; who listens says so

    async def _kill(self) -> None:
        await self._killed.wait()
        await asyncio.sleep(KILL_S)

    async def _obituary(self, problem: RayError) -> Ended:
        """Whether its node is gone, for which the job is not to blame, or only its process."""
        for _ in range(int(NODE_GONE_S / RETRY_S)):
            nodes = await asyncio.to_thread(alive_nodes)
            if self._node_id and self._node_id not in {node["NodeID"] for node in nodes}:
                return Ended(f"{self._where} is gone from the cluster", blameless=True)
            await asyncio.sleep(RETRY_S)
        said = str(problem).strip().splitlines()
        return Ended(f"its actor in the cluster ended: {said[0][:500] if said else type(problem).__name__}")


def alive_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def shortage(asked: dict[str, Any], nodes: list[dict[str, Any]]) -> str:
    """Why no node of the cluster will ever do, "" when one does."""
    named = {
        "CPU": asked["num_cpus"],
        "memory": asked.get("memory", 0),
        "GPU": asked.get("num_gpus", 0),
        **asked.get("resources", {}),
    }
    wanted = {name: amount for name, amount in named.items() if amount}
    if any(all(node["Resources"].get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
        return ""
    lists = [", ".join(f"{node['Resources'].get(name, 0):,.6g} {name}" for name in wanted) for node in nodes]
    text = ", ".join(f"{amount:,.6g} {name}" for name, amount in wanted.items())
    return f"No node of the Ray cluster has {text}. Its nodes have: {'; '.join(lists) or 'there are none'}."


if __name__ == "__main__":
    main()
