"""Where a runner's attempts run: on this machine, or in the cluster that LLMOS_RAY_ADDRESS names."""

from __future__ import annotations

from llmos.kernel.executors.base import Executor
from llmos.kernel.executors.local import LocalExecutor
from llmos.kernel.executors.ray import RayExecutor
from llmos.settings import Settings


def executor_for(settings: Settings) -> Executor:
    """Raises MissingExtra when a cluster is named and ray is not installed."""
    return RayExecutor(settings) if settings.ray_address else LocalExecutor()
