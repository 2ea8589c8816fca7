"""The extension door: packages that add to LLMOS, found by the entry-point group `llmos`.

An entry point names a module; importing it registers what it holds (`@backends.register("mine")`). The built-ins come
through the same door: their module is `llmos.builtins`, so that nothing a built-in can do is closed to a plugin. A plugin
that fails to import is reported, by name and reason, and does not take LLMOS down with it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import threading
from dataclasses import dataclass

GROUP = "llmos"
BUILTINS = "llmos.builtins"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One loaded entry point. `error` is why it could not be loaded, or ""."""

    name: str
    module: str
    package: str
    version: str
    error: str = ""


_loaded: list[Plugin] | None = None
_lock = threading.RLock()


def load_plugins() -> list[Plugin]:
    """Imports every entry point of the group once per process, built-ins first. Returns what was found."""
    global _loaded  # noqa: PLW0603 - one process, one set of plugins
    with _lock:
        if _loaded is None:
            _loaded = []  # set before the imports: a plugin that asks again while loading gets what is there
            importlib.import_module(BUILTINS)
            _loaded.extend(_load(entry) for entry in importlib.metadata.entry_points(group=GROUP))
        return list(_loaded)


def _load(entry: importlib.metadata.EntryPoint) -> Plugin:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
    error = ""
    try:
        importlib.import_module(entry.module)
    except Exception as problem:  # noqa: BLE001 - a broken plugin is reported by doctor, it must not stop LLMOS
        error = f"{type(problem).__name__}: {problem}"
    return Plugin(entry.name, entry.module, package, version, error)
