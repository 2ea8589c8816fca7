"""Which labels are probably wrong: confident learning. Pure numpy over given labels and a model's probabilities.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research
70 (2021). The probabilities must come from a model that did not learn these very labels: out of folds, or a zero-shot model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmos.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """place: in the given labels. given and suggested: numbers of classes. margin: probability of the given class minus that of the
    best other one; the lower, the more suspect."""

    place: int
    given: int
    suggested: int
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """suspects: the most suspect first. joint: [given, true] estimated share of all examples; what is off its diagonal is noise."""

    suspects: tuple[Suspect, ...]
    joint: NDArray[np.float64]

    @property
    def noise(self) -> float:
        """The estimated share of wrong labels."""
        return float(self.joint.sum() - self.joint.trace())


def thresholds(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each class the mean probability that the model gives it where it is the given label (formula 2). A class that nobody
    gave has infinity: nothing is counted into it."""
    import numpy as np

    num_classes = probabilities.shape[1]
    return np.array(
        [probabilities[labels == number, number].mean() if (labels == number).any() else np.inf for number in range(num_classes)]
    )


def confident_joint(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts [given, true] of formula 1, and for each example the class it is counted into, -1 for none. Where an example is
    over the threshold of several classes the most probable of them counts (the paper's handling of collisions)."""
    import numpy as np

    over = probabilities >= thresholds(labels, probabilities) - 1e-12
    likely = np.where(over.any(axis=1), np.where(over, probabilities, -1.0).argmax(axis=1), -1)
    counts = np.zeros((probabilities.shape[1], probabilities.shape[1]), dtype=np.int64)
    np.add.at(counts, (labels[likely >= 0], likely[likely >= 0]), 1)
    return counts, likely.astype(np.int64)


def calibrated(counts: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The joint distribution of given and true labels: every row scaled to the number of examples with that label, all to 1
    (formula 3). A class of which no example was confident keeps its labels."""
    import numpy as np

    given = np.bincount(labels, minlength=len(counts)).astype(np.float64)
    filled = counts + np.diag(np.where(counts.sum(axis=1) == 0, 1, 0))
    rows = filled / filled.sum(axis=1, keepdims=True) * given[:, None]
    joint: NDArray[np.float64] = rows / rows.sum()
    return joint


def find_label_errors(labels: Sequence[int], probabilities: Sequence[Sequence[float]]) -> Findings:
    """labels: [examples], probabilities: [examples, classes]. The candidates are what is off the diagonal of the confident joint,
    ranked by normalised margin. Raises InvalidValue for shapes that do not fit or what is no probability."""
    import numpy as np

    given, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if chances.ndim != 2 or len(given) != len(chances) or not len(given):
        raise InvalidValue(f"{len(given)} labels do not fit probabilities of the shape {chances.shape}.", param="probabilities")
    if not np.isfinite(chances).all() or (chances < 0).any() or (chances > 1 + 1e-6).any():
        raise InvalidValue("Probabilities are numbers from 0 to 1.", param="probabilities")
    if (given < 0).any() or (given >= chances.shape[1]).any():
        raise InvalidValue(f"Labels are numbers from 0 to {chances.shape[1] - 1}.", param="labels")
    counts, likely = confident_joint(given, chances)
    rows = np.arange(len(given))
    others = chances.copy()
    others[rows, given] = -1
    margin = chances[rows, given] - others.max(axis=1)
    suspect = np.flatnonzero((likely >= 0) & (likely != given))
    ordered = suspect[np.argsort(margin[suspect], kind="stable")]
    found = tuple(
        Suspect(place=int(at), given=int(given[at]), suggested=int(likely[at]), margin=float(margin[at])) for at in ordered
    )
    return Findings(suspects=found, joint=calibrated(counts, given))
