"""Confident learning on the paper's kind of data: labels that were flipped on purpose, and a model that was not told."""

from __future__ import annotations

import numpy as np
import pytest

from llmos.data.annotate.confident import Findings, calibrated, confident_joint, find_label_errors, thresholds
from llmos.errors import InvalidValue


def planted(num: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of three classes with `share` of them flipped, the probabilities of a model that is right nine times of ten and less
    sure when it is not, and which were flipped."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 3, num)
    flipped = random.random(num) < share
    given = np.where(flipped, (true + random.integers(1, 3, num)) % 3, true)
    leaning = np.where(random.random(num) < 0.9, true, random.integers(0, 3, num))
    scores = random.normal(0, 0.7, (num, 3))
    scores[np.arange(num), leaning] += np.where(leaning == true, 3, 1)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return given, chances, flipped


def test_planted_errors_are_found() -> None:
    given, chances, flipped = planted(3000, 0.12, seed=5)
    found = find_label_errors(given.tolist(), chances.tolist())
    places = np.array([suspect.place for suspect in found.suspects])
    precision, recall = flipped[places].mean(), flipped[places].sum() / flipped.sum()
    assert recall > 0.8 and precision > 0.85, (precision, recall)
    assert flipped[places[:100]].mean() > 0.9  # the ranking puts the surest first
    assert found.noise == pytest.approx(0.12, abs=0.06)
    margins = [suspect.margin for suspect in found.suspects]
    assert margins == sorted(margins)


def test_clean_labels_give_a_short_list() -> None:
    given, chances, _ = planted(2000, 0.0, seed=6)
    assert len(find_label_errors(given.tolist(), chances.tolist()).suspects) < 0.1 * 2000


def test_the_joint_by_hand() -> None:
    """Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.9) / 2 = 0.8."""
    labels = np.array([0, 0, 0, 1, 1])
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9]])
    counts, likely = confident_joint(labels, chances)
    assert counts.tolist() == [[2, 1], [0, 1]]
    assert likely.tolist() == [0, 0, 1, -1, 1]
    joint = calibrated(counts, labels)
    assert joint == pytest.approx(np.array([[2, 1], [0, 2]]) / 5)
    [suspect] = find_label_errors(labels.tolist(), chances.tolist()).suspects
    assert (suspect.place, suspect.given, suspect.suggested) == (2, 0, 1)
    assert suspect.margin == pytest.approx(-0.8)


def test_the_worked_example_of_the_paper() -> None:
    """Figure 1 of Northcutt, Jiang and Chuang 2021 (dog, fox, cow): the confident joint of 400 images, and the joint it gives."""
    counts = np.array([[100, 40, 20], [56, 60, 0], [32, 12, 80]])
    labels = np.repeat(np.arange(3), counts.sum(axis=1))
    expected = np.array([[0.25, 0.1, 0.05], [0.14, 0.15, 0], [0.08, 0.03, 0.2]])
    joint = calibrated(counts, labels)
    assert joint == pytest.approx(expected)
    assert Findings(suspects=(), joint=joint).noise == pytest.approx(0.4)


def test_who_is_over_two_thresholds_counts_for_the_likelier() -> None:
    """Formula 1 with its argmax. Thresholds: (.5 + .3) / 2 = .4 and (.4 + .6) / 2 = .5, so the third is over both."""
    labels = np.array([0, 0, 1, 1])
    chances = np.array([[0.5, 0.2], [0.3, 0.1], [0.45, 0.6], [0.9, 0.4]])
    assert thresholds(labels, chances) == pytest.approx([0.4, 0.5])
    counts, likely = confident_joint(labels, chances)
    assert likely.tolist() == [0, -1, 1, 0] and counts.tolist() == [[1, 0], [1, 1]]


def test_what_does_not_fit_is_refused() -> None:
    for labels, chances in (([0], [[0.5, 0.5]] * 2), ([2], [[0.5, 0.5]]), ([0], [[1.5, 0.5]]), ([], [])):
        with pytest.raises(InvalidValue):
            find_label_errors(labels, chances)
