"""Admission: slots, the queue, the wait, and that every slot comes back."""

from __future__ import annotations

import asyncio

import pytest

from llmos.errors import OverCapacity
from llmos.server.limits import Admission, Limits


async def test_slots_then_queue_then_refusal() -> None:
    admission = Admission(Limits(slots=1, queue=1))
    release = await admission.acquire()
    second = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (1, 1)
    with pytest.raises(OverCapacity) as refusal:
        await admission.acquire()
    assert refusal.value.retry_after_s is not None
    release()
    (await second)()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_release_counts_once() -> None:
    admission = Admission(Limits(slots=2))
    first, _ = await admission.acquire(), await admission.acquire()
    first()
    first()
    assert admission.running == 1


async def test_the_wait_has_an_end() -> None:
    admission = Admission(Limits(slots=1, queue=5, queue_s=0.01))
    await admission.acquire()
    with pytest.raises(OverCapacity, match="waited"):
        await admission.acquire()
    assert (admission.running, admission.waiting) == (1, 0)


async def test_who_stops_waiting_leaves_the_queue() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    release = await admission.acquire()
    waiting = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_slot_given_to_someone_who_has_just_left_is_passed_on() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    release = await admission.acquire()
    leaving = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    release()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert admission.running == 0


async def test_order_is_kept() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    release = await admission.acquire()
    order: list[int] = []

    async def work(number: int) -> None:
        done = await admission.acquire()
        order.append(number)
        done()

    tasks = [asyncio.ensure_future(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]
