"""What the data platform brings itself: formats, steps, executors. They are registered when a recipe is first looked at, not with the other
built-ins, since every process of LLMOS would load polars and Arrow for them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from llmos.data.base import steps as known_steps
from llmos.plugins import load_plugins


def load() -> None:
    """Registers all that recipes can name, of LLMOS and of plugins. Cheap when it is done already."""
    from llmos.data.executors import local, ray  # noqa: F401
    from llmos.data.readers import all as readers  # noqa: F401
    from llmos.data.steps import all as steps  # noqa: F401
    from llmos.data.writers import all as writers  # noqa: F401

    load_plugins()


def load_some(steps: Iterable[str]) -> None:
    """Registers the formats and these steps; all there is when one of them is not built in. A worker needs no more, and starts sooner."""
    from llmos.data.readers import all as readers  # noqa: F401

    for name in steps:
        if name not in known_steps and name.isidentifier() and find_spec(f"llmos.data.steps.{name}"):
            import_module(f"llmos.data.steps.{name}")
        if name not in known_steps:
            load()
