"""Admission: slots, prompt tokens, the queue, the wait, and that every place comes back. And the promised figures themselves."""

from __future__ import annotations

import asyncio

import pytest

from llmos.errors import OverCapacity, RateLimited
from llmos.server.limits import Admission, Limits


def test_promised_figures() -> None:
    limits = Limits()
    assert (limits.queue, limits.key_queue, limits.queue_s, limits.unread_s) == (64, 16, 60, 30)


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


async def test_prompt_tokens_wait_though_a_slot_is_free() -> None:
    admission = Admission(Limits(slots=4, slot_tokens=100))
    release = await admission.acquire(80)
    second = asyncio.ensure_future(admission.acquire(30))
    third = asyncio.ensure_future(admission.acquire(10))  # it would fit, but nobody overtakes
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting, admission.waiting_tokens) == (1, 2, 40)
    release()
    done = [await second, await third]
    assert (admission.running, admission.running_tokens) == (2, 40)
    for give_back in done:
        give_back()
    assert (admission.running, admission.running_tokens) == (0, 0)


async def test_a_prompt_over_the_limit_has_a_place_when_it_is_alone() -> None:
    admission = Admission(Limits(slot_tokens=100, queue_tokens=100))
    release = await admission.acquire(1000)
    second = asyncio.ensure_future(admission.acquire(1000))
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (1, 1)
    release()
    (await second)()
    assert (admission.running, admission.running_tokens) == (0, 0)


async def test_waiting_prompt_tokens_are_bounded() -> None:
    admission = Admission(Limits(slots=1, queue=64, queue_tokens=100))
    release = await admission.acquire()
    waiting = asyncio.ensure_future(admission.acquire(70))
    await asyncio.sleep(0)
    with pytest.raises(OverCapacity, match="70 prompt tokens"):
        await admission.acquire(31)
    small = asyncio.ensure_future(admission.acquire(30))
    await asyncio.sleep(0)
    assert admission.waiting_tokens == 100
    release()
    for one in (waiting, small):
        (await one)()


async def test_one_key_has_a_share_of_the_queue() -> None:
    admission = Admission(Limits(slots=1, queue=64, key_queue=2))
    release = await admission.acquire(key="a")
    waiting = [asyncio.ensure_future(admission.acquire(key="a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as refusal:
        await admission.acquire(key="a")
    assert refusal.value.http_status == 429
    assert refusal.value.retry_after_s is not None
    other = asyncio.ensure_future(admission.acquire(key="b"))
    await asyncio.sleep(0)
    assert admission.waiting == 3
    release()
    for one in (*waiting, other):
        (await one)()


async def test_when_the_first_leaves_who_stood_behind_it_is_served() -> None:
    admission = Admission(Limits(slots=4, slot_tokens=100))
    release = await admission.acquire(80)
    large = asyncio.ensure_future(admission.acquire(90))
    small = asyncio.ensure_future(admission.acquire(10))
    await asyncio.sleep(0)
    large.cancel()
    (await asyncio.wait_for(small, 10))()
    release()
    assert (admission.running, admission.running_tokens, admission.waiting) == (0, 0, 0)
