"""What the data platform brings itself: formats, steps, executors. They are registered when a recipe is first looked at, not with the other
built-ins, since every process of LLMOS would load polars and Arrow for them."""

from __future__ import annotations

from llmos.plugins import load_plugins


def load() -> None:
    """Registers all that recipes can name, of LLMOS and of plugins. Cheap when it is done already."""
    from llmos.data.executors import local, ray  # noqa: F401
    from llmos.data.readers import all as readers  # noqa: F401
    from llmos.data.steps import all as steps  # noqa: F401
    from llmos.data.writers import all as writers  # noqa: F401

    load_plugins()
