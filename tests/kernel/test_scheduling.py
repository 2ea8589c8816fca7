"""The policy of requests, by simulation: bounds are kept, nobody starves, keys share fairly, Retry-After says the truth."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.kernel.base import Priority
from llmos.kernel.scheduling import (
    AGED_EVERY,
    AGEING_S,
    HOLD_S,
    MAX_KEYS,
    MAX_RETRY_S,
    Bounds,
    Pace,
    Running,
    Shares,
    View,
    Waiting,
    charged,
    choose_next,
    refuse,
    started,
)
from tests.kernel.simulation import Arrival, Simulation, all_of, percentile, within_budget, work_conserving

BATCH, NORMAL, INTERACTIVE = Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE
BOUNDS = Bounds(slots=8, slot_tokens=4000, queue=64, queue_tokens=20_000, key_queue=16)
WIDE = replace(BOUNDS, slot_tokens=10**9, queue_tokens=10**9)

arrivals = st.lists(
    st.builds(
        Arrival,
        at=st.floats(0, 60),
        service_s=st.floats(0.01, 8),
        key=st.sampled_from(["", "a", "b", "c"]),
        priority=st.sampled_from(list(Priority)),
        tokens=st.integers(0, 3000),
    ),
    max_size=150,
)


def view(waiting: list[Waiting], running: list[Running] | None = None, bounds: Bounds = WIDE, now: float = 0.0) -> View:
    return View(waiting=waiting, running=running or [], bounds=bounds, now=now)


def flood(rate: float, seconds: float, seed: int, **facts: object) -> list[Arrival]:
    """Poisson arrivals."""
    draw, at, made = random.Random(seed), 0.0, list[Arrival]()
    while (at := at + draw.expovariate(rate)) < seconds:
        made.append(Arrival(at=at, service_s=draw.uniform(0.5, 1.5), **facts))  # type: ignore[arg-type]
    return made


# -- always --------------------------------------------------------------------------------------------------------------
@given(arrivals)
@settings(max_examples=60, deadline=None)
def test_no_bound_is_passed_no_slot_is_idle_without_a_reason_and_all_accepted_are_served(given_arrivals: list[Arrival]) -> None:
    sim = Simulation(BOUNDS, given_arrivals, check=all_of(within_budget, work_conserving)).run()
    for outcome in sim.outcomes:
        assert (outcome.started_at is None) == bool(outcome.told)
    assert not sim.waiting


@given(arrivals)
@settings(max_examples=20, deadline=None)
def test_the_same_arrivals_give_the_same_order(given_arrivals: list[Arrival]) -> None:
    first, second = (Simulation(BOUNDS, given_arrivals, come_back=True).run() for _ in range(2))
    assert first.order == second.order
    assert [one.told for one in first.outcomes] == [one.told for one in second.outcomes]


def test_thousands_of_requests_of_many_keys() -> None:
    draw = random.Random(20261122)
    made = [
        Arrival(
            at=draw.uniform(0, 600),
            service_s=draw.lognormvariate(0, 1),
            key=f"key{draw.randrange(40)}",
            priority=draw.choice(list(Priority)),
            tokens=int(draw.lognormvariate(5, 1.5)),
        )
        for _ in range(6000)
    ]
    sim = Simulation(BOUNDS, made, check=all_of(within_budget, work_conserving)).run()
    served = [one for one in sim.outcomes if one.started_at is not None]
    assert len(served) > 2000
    assert len(served) + sum(bool(one.told) for one in sim.outcomes) == 6000


# -- classes and ageing --------------------------------------------------------------------------------------------------
def test_the_more_urgent_class_goes_first_and_within_one_who_came_first() -> None:
    waiting = [
        Waiting(id=1, priority=BATCH, since=0),
        Waiting(id=2, priority=NORMAL, since=1),
        Waiting(id=3, priority=INTERACTIVE, since=3),
        Waiting(id=4, priority=INTERACTIVE, since=2),
    ]
    order, shares = [], Shares()
    while (chosen := choose_next(view(waiting, now=4), shares)) is not None:
        shares = started(view(waiting, now=4), shares, chosen)
        waiting.remove(chosen)
        order.append(chosen.id)
    assert order == [4, 3, 2, 1]


@pytest.mark.parametrize("priority", [NORMAL, BATCH])
def test_a_less_urgent_request_in_a_flood_starts_within_the_ageing_and_a_few_starts(priority: Priority) -> None:
    """The bound: AGEING_S, then AGED_EVERY starts of others, each at most one service (1.5 s) apart."""
    made = [*flood(24, 120, 1, key="flood"), Arrival(at=5, key="patient", priority=priority)]
    made += flood(24, 120, 2, key="other")
    sim = Simulation(WIDE, made).run()
    (patient,) = (one for one in sim.outcomes if one.arrival.key == "patient")
    assert 1.5 < patient.wait_s <= AGEING_S + AGED_EVERY * 1.5


def test_all_classes_and_keys_in_a_flood_of_all_start_within_a_bound() -> None:
    """Nobody who was let in starves: with `queue` places, starts at least every 1.5 s / slots once all slots are taken, and one
    start in AGED_EVERY for those that have waited too long."""
    made = [one for p, c in ((INTERACTIVE, 10), (NORMAL, 5), (BATCH, 5)) for one in flood(c, 300, c, key=f"{p}", priority=p)]
    made += flood(4, 300, 9, key="second", priority=BATCH)
    sim = Simulation(WIDE, made).run()
    bound_s = AGEING_S + AGED_EVERY * WIDE.queue * 1.5 / WIDE.batch_slots
    waits = {p: [o.wait_s for o in sim.outcomes if o.started_at is not None and o.arrival.priority is p] for p in Priority}
    assert all(len(found) > 50 and max(found) <= bound_s for found in waits.values())
    assert percentile(waits[INTERACTIVE], 0.95) < percentile(waits[NORMAL], 0.95)


def test_one_start_in_four_at_most_goes_to_those_that_waited_too_long() -> None:
    waiting = [Waiting(id=i, priority=BATCH, since=0) for i in range(20)]
    waiting += [Waiting(id=100 + i, since=50) for i in range(40)]
    order, shares = [], Shares()
    for _ in range(40):
        chosen = choose_next(view(waiting, now=60), shares)
        assert chosen is not None
        shares = started(view(waiting, now=60), shares, chosen)
        waiting.remove(chosen)
        order.append(chosen.priority)
    assert order == ([INTERACTIVE] * (AGED_EVERY - 1) + [BATCH]) * 10


# -- batch soaks what is left --------------------------------------------------------------------------------------------
def test_batch_has_all_slots_alone_and_a_quarter_beside_interactive() -> None:
    jobs = [Waiting(id=i, priority=BATCH) for i in range(10)]
    beside = [Running(id=50)]
    quota = [Running(id=60 + i, priority=BATCH) for i in range(BOUNDS.batch_slots)]
    assert BOUNDS.batch_slots == 2
    assert choose_next(view(jobs, quota), Shares()) is not None
    assert choose_next(view(jobs, [*quota, *beside]), Shares()) is None
    assert choose_next(view(jobs, [*quota[1:], *beside]), Shares()) is not None
    assert choose_next(view([*jobs, Waiting(id=99)], quota), Shares()) == Waiting(id=99)


@given(st.integers(1, 40))
def test_batch_always_has_one_slot(slots: int) -> None:
    assert replace(BOUNDS, slots=slots).batch_slots >= 1


def test_a_queue_full_of_batch_leaves_places_for_the_others() -> None:
    waiting = [Waiting(id=i, key=f"k{i}", priority=BATCH) for i in range(32)]
    assert refuse(view(waiting), Pace(), Waiting(id=99, priority=BATCH)) is not None
    assert refuse(view(waiting), Pace(), Waiting(id=99, priority=NORMAL)) is None
    waiting += [Waiting(id=i, key=f"k{i}", priority=NORMAL) for i in range(32, 48)]
    assert refuse(view(waiting), Pace(), Waiting(id=99, priority=NORMAL)) is not None
    assert refuse(view(waiting), Pace(), Waiting(id=99)) is None


# -- fair shares -----------------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(1, 500), min_size=30, max_size=30), st.lists(st.integers(1, 500), min_size=30, max_size=30))
@settings(max_examples=100, deadline=None)
def test_two_backlogged_keys_differ_by_one_request_of_each_at_most(first: list[int], second: list[int]) -> None:
    """The bound of start-time fair queuing: the largest request of the one plus the largest of the other."""
    costs, next_of, served, shares = {"a": first, "b": second}, {"a": 0, "b": 0}, {"a": 0, "b": 0}, Shares()
    bound = max(first) + max(second)
    while all(next_of[key] < len(costs[key]) for key in costs):
        waiting = [Waiting(id=i, key=k, tokens=costs[k][next_of[k]]) for i, k in enumerate(costs)]
        chosen = choose_next(view(waiting), shares)
        assert chosen is not None
        shares = started(view(waiting), shares, chosen)
        served[chosen.key] += chosen.tokens
        next_of[chosen.key] += 1
        assert abs(served["a"] - served["b"]) <= bound


def test_who_was_idle_saves_nothing_up() -> None:
    shares = Shares()
    for number in range(50):
        one = Waiting(id=number, key="a", tokens=100)
        shares = started(view([one]), shares, one)
    order = []
    waiting = [Waiting(id=100 + i, key=key, tokens=100) for i in range(5) for key in ("a", "b")]
    while (chosen := choose_next(view(waiting), shares)) is not None:
        shares = started(view(waiting), shares, chosen)
        waiting.remove(chosen)
        order.append(chosen.key)
    assert sorted(order[:4]) == ["a", "a", "b", "b"]


def test_written_tokens_count_too() -> None:
    shares = Shares()
    both = [Waiting(id=1, key="a", tokens=10), Waiting(id=2, key="b", tokens=10)]
    shares = started(view(both), shares, both[0])
    shares = started(view(both), shares, both[1])
    assert choose_next(view(both), charged(shares, INTERACTIVE, "a", 1)) == both[1]
    assert choose_next(view(both), charged(shares, INTERACTIVE, "b", 1)) == both[0]


def test_keys_are_not_remembered_for_ever() -> None:
    shares = Shares()
    for number in range(3 * MAX_KEYS):
        one = Waiting(id=number, key=f"key{number}", tokens=1)
        shares = started(view([one]), shares, one)
        shares = replace(shares, clock={INTERACTIVE: float(number)})
    assert len(shares.finish) <= MAX_KEYS + 1


def test_a_key_that_floods_is_served_no_more_than_its_share_and_the_other_never_refused() -> None:
    """P13 in the arithmetic: a key at ten times the capacity beside one that asks for a tenth of it."""
    polite = [replace(one, key="polite") for one in flood(0.8, 300, 5)]
    sim = Simulation(WIDE, [*flood(80, 300, 4, key="flood"), *polite]).run()
    found = [one for one in sim.outcomes if one.arrival.key == "polite"]
    assert not any(one.told for one in found)
    assert percentile([one.wait_s for one in found], 0.95) <= 0.75  # half of a mean service: it waits for one end, not for a queue


# -- tokens ----------------------------------------------------------------------------------------------------------------
def test_small_ones_pass_a_large_one_for_a_while_only() -> None:
    running = [Running(id=1, tokens=3000)]
    waiting = [Waiting(id=2, tokens=2000, since=0.0), Waiting(id=3, tokens=10, since=0.1)]
    early, late = view(waiting, running, BOUNDS, now=HOLD_S / 2), view(waiting, running, BOUNDS, now=HOLD_S)
    assert choose_next(early, Shares()) == waiting[1]
    assert choose_next(late, Shares()) is None


def test_one_alone_may_have_more_tokens_than_fit() -> None:
    assert choose_next(view([Waiting(id=1, tokens=9999)], bounds=BOUNDS), Shares()) is not None


# -- refusals --------------------------------------------------------------------------------------------------------------
def test_refusals_say_the_numbers_and_whose_share_it_is() -> None:
    full = [Waiting(id=i, key=f"k{i % 8}", tokens=100) for i in range(64)]
    server = refuse(view(full), Pace(), Waiting(id=99, key="new"))
    assert server is not None and not server.own and "64 requests are waiting already." in server.why
    own = refuse(view(full[:16], bounds=replace(WIDE, key_queue=2)), Pace(), Waiting(id=99, key="k1"))
    assert own is not None and own.own and "2 requests with this key" in own.why
    tokens = refuse(view(full[:8], bounds=replace(WIDE, queue_tokens=850)), Pace(), Waiting(id=99, tokens=51))
    assert tokens is not None and "800 prompt tokens are waiting already; this one has about 51" in tokens.why


def test_a_burst_is_told_turns_that_come_true() -> None:
    """500 requests at once. Who obeys Retry-After is let in at the first return, and starts about when it was told."""
    draw = random.Random(7)
    made = flood(8, 30, 3)  # what it learns its pace from
    made += [Arrival(at=31 + draw.random() / 10, service_s=draw.uniform(0.5, 1.5)) for _ in range(500)]
    sim = Simulation(WIDE, made, come_back=True).run()
    burst = [one for one in sim.outcomes if one.arrival.at > 30 and one.told]
    assert len(burst) > 400
    assert all(one.started_at is not None for one in sim.outcomes)
    again = [len(one.told) for one in burst if one.told[0][1] < MAX_RETRY_S]  # beyond it nobody is told more than "a minute"
    assert len(again) > 350
    assert sum(tries == 1 for tries in again) / len(again) > 0.9
    ratios = [(o.started_at - o.told[0][0]) / o.told[0][1] for o in burst if o.started_at and o.told[0][1] < MAX_RETRY_S]
    assert percentile(ratios, 0.1) > 0.8 and percentile(ratios, 0.9) < 1.25


def test_in_overload_who_is_let_in_starts_at_once_and_the_slots_stay_busy() -> None:
    """P12 in the arithmetic: ten times the capacity, nobody comes back. Once the first queue is served nobody waits."""
    bounds = replace(WIDE, slots=32)
    sim = Simulation(bounds, flood(320, 60, 11), check=within_budget).run()
    settled = [one for one in sim.outcomes if one.started_at is not None and one.arrival.at > 10]
    assert len(settled) > 1000
    assert max(one.wait_s for one in settled) == 0
    assert sim.busy_s / (32 * sim.now) > 0.95


def test_overload_ends_when_the_pressure_does() -> None:
    """After the flood three quarters of the capacity come: the queue is there for them again."""
    calm = [replace(one, at=one.at + 32) for one in flood(6, 60, 12)]
    sim = Simulation(WIDE, [*flood(80, 30, 11), *calm]).run()
    after = [one for one in sim.outcomes if one.arrival.at > 35]
    assert len(after) > 300
    assert not any(one.told for one in after)
    assert any(one.wait_s > 0 for one in after)


def test_moderate_pressure_is_queued_and_not_refused() -> None:
    """Forty clients with one request each on 32 slots: a closed loop never overflows the queue."""
    bounds = replace(WIDE, slots=32)
    made = [Arrival(at=round_ * 1.3 + client / 1000, service_s=1.0) for round_ in range(30) for client in range(40)]
    sim = Simulation(bounds, made).run()
    assert not any(one.told for one in sim.outcomes)


def test_nobody_is_told_more_than_a_minute() -> None:
    sim = Simulation(WIDE, flood(200, 30, 2)).run()
    told = [seconds for one in sim.outcomes for _, seconds, _ in one.told]
    assert min(told) > 0 and max(told) <= MAX_RETRY_S
