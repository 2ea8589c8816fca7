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
    first = await admission.acquire()
    second = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (1, 1)
    with pytest.raises(OverCapacity) as refusal:
        await admission.acquire()
    assert refusal.value.retry_after_s is not None
    first.release()
    (await second).release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_release_counts_once() -> None:
    admission = Admission(Limits(slots=2))
    first, _ = await admission.acquire(), await admission.acquire()
    first.release()
    first.release()
    assert admission.running == 1


async def test_the_wait_has_an_end() -> None:
    admission = Admission(Limits(slots=1, queue=5, queue_s=0.01))
    await admission.acquire()
    with pytest.raises(OverCapacity, match="waited"):
        await admission.acquire()
    assert (admission.running, admission.waiting) == (1, 0)


async def test_who_stops_waiting_leaves_the_queue() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    first = await admission.acquire()
    waiting = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.release()
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_slot_given_to_someone_who_has_just_left_is_passed_on() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    first = await admission.acquire()
    leaving = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    first.release()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert admission.running == 0


async def test_order_is_kept() -> None:
    admission = Admission(Limits(slots=1, queue=5))
    first = await admission.acquire()
    order: list[int] = []

    async def work(number: int) -> None:
        done = await admission.acquire()
        order.append(number)
        done.release()

    tasks = [asyncio.ensure_future(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    first.release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_prompt_tokens_wait_though_a_slot_is_free() -> None:
    admission = Admission(Limits(slots=4, slot_tokens=100))
    first = await admission.acquire(80)
    second = asyncio.ensure_future(admission.acquire(30))
    third = asyncio.ensure_future(admission.acquire(10))  # it fits, and passes the second for a while
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting, admission.waiting_tokens) == (2, 1, 30)
    first.release()
    done = [await second, await third]
    assert (admission.running, admission.running_tokens) == (2, 40)
    for give_back in done:
        give_back.release()
    assert (admission.running, admission.running_tokens) == (0, 0)


async def test_a_prompt_over_the_limit_has_a_place_when_it_is_alone() -> None:
    admission = Admission(Limits(slot_tokens=100, queue_tokens=100))
    first = await admission.acquire(1000)
    second = asyncio.ensure_future(admission.acquire(1000))
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (1, 1)
    first.release()
    (await second).release()
    assert (admission.running, admission.running_tokens) == (0, 0)


async def test_waiting_prompt_tokens_are_bounded() -> None:
    admission = Admission(Limits(slots=1, queue=64, queue_tokens=100))
    first = await admission.acquire()
    waiting = asyncio.ensure_future(admission.acquire(70))
    await asyncio.sleep(0)
    with pytest.raises(OverCapacity, match="70 prompt tokens"):
        await admission.acquire(31)
    small = asyncio.ensure_future(admission.acquire(30))
    await asyncio.sleep(0)
    assert admission.waiting_tokens == 100
    first.release()
    for one in (waiting, small):
        (await one).release()


async def test_one_key_has_a_share_of_the_queue() -> None:
    admission = Admission(Limits(slots=1, queue=64, key_queue=2))
    first = await admission.acquire(key="a")
    waiting = [asyncio.ensure_future(admission.acquire(key="a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as refusal:
        await admission.acquire(key="a")
    assert refusal.value.http_status == 429
    assert refusal.value.retry_after_s is not None
    other = asyncio.ensure_future(admission.acquire(key="b"))
    await asyncio.sleep(0)
    assert admission.waiting == 3
    first.release()
    for one in (other, *waiting):  # the keys take turns
        (await one).release()


async def test_when_the_first_leaves_who_stood_behind_it_is_served() -> None:
    admission = Admission(Limits(slots=4, slot_tokens=100))
    first = await admission.acquire(80)
    large = asyncio.ensure_future(admission.acquire(90))
    small = asyncio.ensure_future(admission.acquire(10))
    await asyncio.sleep(0)
    large.cancel()
    (await asyncio.wait_for(small, 10)).release()
    first.release()
    assert (admission.running, admission.running_tokens, admission.waiting) == (0, 0, 0)


async def test_the_more_urgent_goes_first_and_batch_leaves_three_quarters_of_the_slots() -> None:
    admission = Admission(Limits(slots=4))
    running = [await admission.acquire(priority="batch") for _ in range(4)]  # nobody else is there
    batch = asyncio.ensure_future(admission.acquire(priority="batch"))
    person = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    assert (admission.waiting_by_class()["batch"], admission.waiting_by_class()["interactive"]) == (1, 1)
    running[0].release()
    place = await person
    running[1].release()
    running[2].release()
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (2, 1)  # one batch beside the person is a quarter
    place.release()
    (await batch).release()


async def test_waiting_longer_when_the_caller_has_time() -> None:
    admission = Admission(Limits(slots=1, queue_s=0.01))
    first = await admission.acquire()
    patient = asyncio.ensure_future(admission.acquire(priority="batch", wait_s=30))
    await asyncio.sleep(0.05)
    first.release()
    (await patient).release()


async def test_written_tokens_count_against_the_key() -> None:
    admission = Admission(Limits(slots=1))
    first = await admission.acquire(10, key="a")
    waiting = {key: asyncio.ensure_future(admission.acquire(10, key=key)) for key in ("a", "b")}
    await asyncio.sleep(0)
    first.release(written=500)
    place = await waiting["b"]
    assert admission.waiting == 1
    place.release()
    (await waiting["a"]).release()


async def test_the_refused_are_told_turns_of_their_own() -> None:
    admission = Admission(Limits(slots=1, queue=1))
    first = await admission.acquire()
    waiting = asyncio.ensure_future(admission.acquire())
    await asyncio.sleep(0)
    told = []
    for _ in range(3):
        with pytest.raises(OverCapacity) as refusal:
            await admission.acquire()
        assert refusal.value.retry_after_s is not None
        told.append(refusal.value.retry_after_s)
    assert told[0] < told[1] < told[2]
    first.release()
    (await waiting).release()
