"""LLMOS: one program for the whole life of a language model.

    from llmos import LLMOS
    llmos = LLMOS()
    print(llmos.load_model("gpt-3").generate_text(prompt="The world is"))

The names below are the whole public surface. They are imported when first used, so that `import llmos` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos import errors

if TYPE_CHECKING:
    from llmos.kernel.base import JobEvent, JobState
    from llmos.library.base import ModelCard
    from llmos.sdk.aio import AsyncLLMOS, AsyncModel
    from llmos.sdk.base import Ranked, Scored
    from llmos.sdk.client import LLMOS
    from llmos.sdk.jobs import JobHandle
    from llmos.sdk.jobs_aio import AsyncJobHandle
    from llmos.sdk.model import Model
    from llmos.sdk.status import Status
    from llmos.sdk.text import Text, TextStream
    from llmos.settings import Settings
    from llmos.types import Message, Prediction, Tool, ToolCall

__version__ = "0.1.0"

__all__ = [
    "LLMOS",
    "AsyncJobHandle",
    "AsyncLLMOS",
    "AsyncModel",
    "JobEvent",
    "JobHandle",
    "JobState",
    "Message",
    "Model",
    "ModelCard",
    "Prediction",
    "Ranked",
    "Scored",
    "Settings",
    "Status",
    "Text",
    "TextStream",
    "Tool",
    "ToolCall",
    "__version__",
    "errors",
]

_WHERE = {
    "AsyncJobHandle": "llmos.sdk.jobs_aio",
    "AsyncLLMOS": "llmos.sdk.aio",
    "AsyncModel": "llmos.sdk.aio",
    "JobEvent": "llmos.kernel.base",
    "JobHandle": "llmos.sdk.jobs",
    "JobState": "llmos.kernel.base",
    "LLMOS": "llmos.sdk.client",
    "Message": "llmos.types",
    "Model": "llmos.sdk.model",
    "ModelCard": "llmos.library.base",
    "Prediction": "llmos.types",
    "Ranked": "llmos.sdk.base",
    "Scored": "llmos.sdk.base",
    "Settings": "llmos.settings",
    "Status": "llmos.sdk.status",
    "Text": "llmos.sdk.text",
    "TextStream": "llmos.sdk.text",
    "Tool": "llmos.types",
    "ToolCall": "llmos.types",
}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _WHERE:
        raise AttributeError(f"module 'llmos' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
