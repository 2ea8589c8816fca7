"""From a recipe to the stages that compute it: pure functions, no file is touched.

    process:  fix_unicode, text_length, gopher_quality, minhash_dedup, tokenize
    stages:   [fix_unicode text_length gopher_quality | sketch of minhash_dedup]  ── decide ──  [verdicts, tokenize]

All row-wise steps between two decisions are one stage: one pass over the rows, in memory, a batch at a time. A step that needs a model
has a stage of its own, computed where the model is. The key of a stage covers everything before it that decides its rows, so that
kept results are found again exactly when they would be computed again alike.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from llmos.data.base import Gatherer, Regrouper, Step, StepContext, steps
from llmos.data.builtins import load
from llmos.data.recipe import Recipe, digest_of
from llmos.data.stages import Stage, StepSpec
from llmos.data.tokenizers import exact
from llmos.errors import InvalidValue

ENGINE = 1  # grows when parts come out otherwise for the same steps


def specs_of(recipe: Recipe, context: StepContext) -> list[StepSpec]:
    """The steps with all parameters checked. Raises InvalidValue that names step and field, NotFound for an unknown step."""
    load()
    found = []
    for place, call in enumerate(recipe.process):
        cls = steps.get(call.step)
        try:
            config = cls.Config.model_validate(call.params)
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(["process", str(place), call.step, *(str(part) for part in first["loc"])])
            known = ", ".join(cls.Config.model_fields)
            raise InvalidValue(f"{field}: {first['msg']}", param=field, hint=f"{call.step} has: {known}.") from None
        spec = StepSpec(place=place, name=call.step, config=config.model_dump(mode="json") | _exact(cls, config, context))
        spec.make(context)  # what a step itself checks is told before anything runs
        found.append(spec)
    return found


def _exact(cls: type[Step], config: Any, context: StepContext) -> dict[str, str]:
    """The step's models, tokenisers and keys by version: what a name means later is another step."""
    found = {param: exact(name, context) for param in cls.tokenizers if (name := getattr(config, param))}
    if context.models is not None:
        found |= {param: context.models.exact(name) for param in cls.models if (name := getattr(config, param))}
    return found | cls.pinned(config, context)


def models_of(specs: list[StepSpec]) -> list[str]:
    """The models that take part, by exact name."""
    return sorted({spec.config[param] for spec in specs for param in steps.get(spec.name).models if spec.config[param]})


def compile_plan(recipe: Recipe, specs: list[StepSpec]) -> list[Stage]:
    """The stages, at least one. The last one has no sketch."""
    stages: list[Stage] = []
    before: list[dict[str, Any]] = [{"engine": code_version(), "recipe": _frame(recipe)}]
    held: list[StepSpec] = []
    decided: StepSpec | None = None

    def close(sketch: StepSpec | None) -> None:
        nonlocal decided
        members = [*held, *([sketch] if sketch else [])]
        before.extend({"step": one.name, "version": steps.get(one.name).version, "config": one.config} for one in members)
        here = any(steps.get(one.name).needs_model for one in members)
        stages.append(
            Stage(number=len(stages), decided=decided, steps=tuple(held), sketch=sketch, here=here, key=digest_of(before))
        )
        held.clear()
        decided = sketch

    for spec in specs:
        cls = steps.get(spec.name)
        if issubclass(cls, Regrouper):  # its stage begins with parts that are whole
            close(None)
        if held and steps.get(held[-1].name).needs_model != cls.needs_model:
            close(None)
        if issubclass(cls, Gatherer):
            close(spec)
        else:
            held.append(spec)
    if held or decided is not None or not stages:
        close(None)
    return stages


def _frame(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe itself decides the rows of a part, beside its steps and its slice."""
    return {
        "text_column": recipe.text_column,
        "seed": recipe.seed,
        "keep_signals": recipe.keep_signals,
        "keep_dropped": recipe.keep_dropped,
    }


def code_version() -> dict[str, str]:
    """The programs whose results are kept: hashes of polars and rensa mean something within one version only."""
    return {"llmos": version("llmos"), "engine": str(ENGINE), "polars": version("polars"), "pyarrow": version("pyarrow")}
