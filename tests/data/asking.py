"""Models for steps that ask: sessions given by the test, answers kept as in a run, and what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from llmos.data.models import LibraryModels
from llmos.data.store import Version
from llmos.data.synth.asked import Asked
from llmos.engine.base import Feature
from llmos.engine.batch.base import Control
from llmos.engine.session import Session
from llmos.errors import NotFound
from llmos.library.base import ModelCard
from llmos.settings import Settings
from llmos.types import Family
from tests.apps.echo import Echo, echo
from tests.doubles import fake_card, fake_pool


class Given:
    """The Models of data/base.py, of sessions that exist."""

    def __init__(self, folder: Path, sessions: Mapping[str, Session], control: Control | None = None) -> None:
        self.folder, self.sessions, self.control = folder, sessions, control
        self.opened: dict[str, Asked] = {}

    def exact(self, name: str) -> str:
        return f"{name}:{self.session(name).card.version[:12]}"

    def session(self, name: str) -> Session:
        found = self.sessions.get(name.partition(":")[0])
        if found is None:
            raise NotFound(f"There is no model {name}.", param="model")
        return found

    def asked(self, session: Session, how: str) -> Asked:
        name = next(name for name, known in self.sessions.items() if known is session)
        key = f"{name} {how}".replace(" ", "-")[:60]
        if key not in self.opened:
            self.opened[key] = Asked(self.folder / "asked" / key, control=self.control)
        return self.opened[key]

    def close(self) -> None:
        for one in self.opened.values():
            one.close()


class JsonEcho(Echo):
    """An Echo that can be held to schemas and draw."""

    features = Echo.features | {Feature.JSON_SCHEMA, Feature.SEED}


def writer(
    tmp_path: Path, answer: Callable[[str], str | None], *, json: bool = True, family: Family = Family.CAUSAL, **card: object
) -> tuple[Given, Echo]:
    """A model "echo" whose answers are a function of its prompt."""
    session, engine = echo(tmp_path / "echo", answer, family, **card)  # type: ignore[arg-type]
    if json:
        engine.__class__ = JsonEcho
    return Given(tmp_path, {"echo": session}), engine


def fake_models(tmp_path: Path, *cards: ModelCard) -> LibraryModels:
    """A LibraryModels over doubles of tests/doubles.py."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_PROBE": "0"})
    pool = fake_pool(settings, tmp_path, cards=list(cards) or [fake_card()])
    return LibraryModels(settings, pool.library, pool=pool)


def user_text(prompt: str) -> str:
    """The last user turn of a ChatML prompt."""
    return prompt.rpartition("user\n")[2].removesuffix("\nassistant\n")


def column(version: Version, name: str) -> list[object]:
    return version.scan().collect().get_column(name).to_list()


def told(version: Version, action: str) -> list[tuple[str, str, str]]:
    """(row, signal, detail) of the ledger lines of that kind."""
    found = version.ledger().filter(pl.col("action") == action).select("_id", "signal", "detail").collect()
    return list(found.iter_rows())
