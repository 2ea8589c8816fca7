"""What filters have in common that keep the rows of which one number is in a range, limits included."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from llmos.data.base import Filter, Rows, Rule, TextConfig, Values


class RangeConfig(TextConfig):
    """Its fields `min_…` and `max_…` are the limits."""

    def limits(self) -> tuple[float | None, float | None]:
        """(lowest, highest) that is kept."""
        named = {name[:4]: value for name, value in self if name.startswith(("min_", "max_"))}
        return named.get("min_"), named.get("max_")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.limits()
        if low is not None and high is not None and low > high:
            raise ValueError(f"the lowest value kept, {low}, is above the highest, {high}")
        return self


class RatioConfig(RangeConfig):
    min_ratio: float = Field(0.0, ge=0, description="The lowest share that is kept.")
    max_ratio: float = Field(1.0, ge=0, description="The highest share that is kept.")


class Ranged(Filter):
    """One signal, its limits from the config."""

    signal: ClassVar[str]
    config: RangeConfig

    @abstractmethod
    def measure(self, rows: Rows) -> Values: ...

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        return {self.signal: self.measure(rows)}

    @property
    def rules(self) -> Sequence[Rule]:
        low, high = self.config.limits()
        return (Rule(signal=self.signal, at_least=low, at_most=high),)
