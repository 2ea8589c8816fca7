"""The order of examples: every example once an epoch, the same for any number of workers, found at any step without the steps before."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.training.draws import Purpose, mixed, seed_of, uniform, words
from llmos.training.order import Order, permuted


@settings(deadline=None)
@given(num=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_takes_every_place_once(num: int, key: int) -> None:
    assert sorted(permuted(np.arange(num), num, key).tolist()) == list(range(num))


def test_a_large_permutation_is_found_at_single_places() -> None:
    num = 3_000_000_000
    places = np.array([0, 1, 2, num - 1])
    whole = permuted(places, num, 7)
    assert [int(permuted(places[[at]], num, 7)[0]) for at in range(4)] == whole.tolist()
    assert len({*whole.tolist()}) == 4 and (whole >= 0).all() and (whole < num).all()


@pytest.mark.parametrize("num", [3, 4, 5])
def test_all_permutations_are_about_as_frequent(num: int) -> None:
    """Chi-square over the num! permutations of 1,500 keys; the bound is far beyond the 0.9999 quantile."""
    wanted = dict.fromkeys(permutations(range(num)), 0)
    for key in range(1500):
        wanted[tuple(permuted(np.arange(num), num, seed_of(key)).tolist())] += 1
    expected = 1500 / len(wanted)
    statistic = sum((count - expected) ** 2 / expected for count in wanted.values())
    free = len(wanted) - 1
    assert statistic < free + 5 * (2 * free) ** 0.5


@settings(deadline=None)
@given(
    num=st.integers(1, 50),
    epochs=st.floats(0.1, 4),
    batch=st.integers(1, 60),
    workers=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_steps_go_through_all_places_whoever_computes_them(num: int, epochs: float, batch: int, workers: int, seed: int) -> None:
    order = Order(num_examples=num, epochs=epochs, batch_size=batch, seed=seed)
    taken = [
        np.concatenate([order.places(step, worker, workers) for worker in range(workers)]).tolist()
        for step in range(order.num_steps)
    ]
    assert [place for places in taken for place in places] == list(range(order.num_places))
    assert all(len(places) == batch for places in taken[:-1])
    examples = order.examples(np.arange(order.num_places)).tolist()
    for start in range(0, len(examples) - num + 1, num):
        assert sorted(examples[start : start + num]) == list(range(num))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = Order(num_examples=100, epochs=2, batch_size=10, seed=1)
    examples = order.examples(np.arange(200))
    assert examples[:100].tolist() != examples[100:].tolist()
    assert examples[:100].tolist() != Order(num_examples=100, epochs=1, batch_size=10, seed=2).examples(np.arange(100)).tolist()
    assert Order(num_examples=3, epochs=2, batch_size=2, seed=1, shuffle=False).examples(np.arange(6)).tolist() == [0, 1, 2] * 2


def test_what_runs_were_begun_with_stays() -> None:
    """Another order or other draws here would make a resumed run another run: mend the change, not this test."""
    order = Order(num_examples=7, epochs=2, batch_size=3, seed=5)
    assert order.examples(np.arange(14)).tolist() == [4, 5, 0, 3, 6, 2, 1, 0, 4, 6, 3, 1, 5, 2]
    assert words(2, 3, Purpose.MASKING, 8).tolist() == [11013535490539288058, 8523871712326883859]


def test_draws_are_those_of_their_key() -> None:
    """The first words of splitmix64 from the state 0, as its authors' reference program prints them."""
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [hex(value) for value in mixed(state).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]
    assert words(5, 3, Purpose.MASKING, 8).tolist() == words(9, 3, Purpose.MASKING, 8).tolist()[:5]
    assert words(5, 3, Purpose.MASKING, 8).tolist() != words(5, 3, Purpose.MASKING, 9).tolist()
    drawn = uniform(100_000, 1, 2)
    assert drawn.min() >= 0 and drawn.max() < 1 and abs(drawn.mean() - 0.5) < 0.005
