"""What a worker is told of a recipe: steps with their parameters, and the stages that plan.py makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmos.data.base import Step, StepContext, steps


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """A step as workers are told of it. place: among the recipe's steps, from 0. config: all parameters, defaults too."""

    place: int
    name: str
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """Its name in the ledger: "2:gopher_quality"."""
        return f"{self.place}:{self.name}"

    def make(self, context: StepContext) -> Step:
        cls = steps.get(self.name)
        return cls(cls.Config.model_validate(self.config), context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass. decided: the step whose verdicts are applied first; sketch: the step that decides after it. here: computed in the
    coordinating process. key: of everything up to its end."""

    number: int
    decided: StepSpec | None
    steps: tuple[StepSpec, ...]
    sketch: StepSpec | None
    here: bool
    key: str

    @property
    def all(self) -> list[StepSpec]:
        """Every step that its parts meet."""
        return [one for one in (self.decided, *self.steps, self.sketch) if one is not None]
