"""The rows that make a model exist: one card per name and version. Written last on a pull, deleted first on a removal.

A model is everybody's, unless it has rows in model_projects: then only those projects see it (the project "" is all of them).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, not_, or_, select

from llmos.infra.database import Database
from llmos.infra.tables import accepted_licences, model_projects, models
from llmos.library.base import ModelCard
from llmos.library.cards import dump_card, load_card, now

EVERYBODY = ""


class ModelRows:
    """Cards in the database. Every method is one transaction. project: whose view it is; None sees everything."""

    def __init__(self, database: Database, project: str | None = None) -> None:
        self.database = database
        self.project = project

    @property
    def of_all(self) -> ModelRows:
        """The same for everything: whoever deletes files must know of all models that need them."""
        return ModelRows(self.database)

    def all(self) -> list[ModelCard]:
        """By name, newest version first."""
        wanted = select(models.c.card).where(*self._seen()).order_by(models.c.name, models.c.created_at.desc())
        with self.database.begin(read_only=True) as connection:
            return [load_card(card) for card in connection.execute(wanted).scalars()]

    def find(self, name: str, version: str = "") -> list[ModelCard]:
        """Cards of that name whose version starts so, newest first."""
        wanted = select(models.c.card).where(models.c.name == name, *self._seen()).order_by(models.c.created_at.desc())
        if version:
            wanted = wanted.where(models.c.version.startswith(version, autoescape=True))
        with self.database.begin(read_only=True) as connection:
            return [load_card(card) for card in connection.execute(wanted).scalars()]

    def add(self, card: ModelCard) -> ModelCard:
        """The card as the library has it: an equal one that is there already stays, with its own date and source. It is seen by
        this view's project, and by everybody when that is None."""
        with self.database.begin() as connection:
            known = connection.execute(select(models.c.card).where(_same(models, card))).scalar_one_or_none()
            if known is None:
                row = {"name": card.name, "version": card.version, "card": dump_card(card), "created_at": card.created_at}
                connection.execute(insert(models).values(**row))
            owners = _owners(connection, card)
            mine = EVERYBODY if self.project is None else self.project
            if mine not in owners and EVERYBODY not in owners and (owners or (known is None and mine)):
                connection.execute(insert(model_projects).values(name=card.name, version=card.version, project=mine))
            return card if known is None else load_card(known)

    def owners(self, card: ModelCard) -> frozenset[str]:
        """The projects that see the model; none: everybody does."""
        with self.database.begin(read_only=True) as connection:
            found = _owners(connection, card)
        return frozenset() if EVERYBODY in found else found

    def disown(self, card: ModelCard) -> None:
        """This view's project sees the model no longer."""
        with self.database.begin() as connection:
            connection.execute(delete(model_projects).where(_same(model_projects, card), model_projects.c.project == self.project))

    def remove(self, card: ModelCard) -> None:
        with self.database.begin() as connection:
            connection.execute(delete(models).where(_same(models, card)))
            connection.execute(delete(model_projects).where(_same(model_projects, card)))

    def _seen(self) -> list[Any]:
        """The conditions on `models` for what this view shows."""
        if self.project is None:
            return []
        own = and_(model_projects.c.name == models.c.name, model_projects.c.version == models.c.version)
        return [or_(not_(exists().where(own)), exists().where(own, model_projects.c.project.in_((EVERYBODY, self.project))))]

    def accept_licence(self, licence: str, model: str) -> None:
        """Remembers that the user accepted the licence for the model. Twice is once."""
        same = (accepted_licences.c.licence == licence) & (accepted_licences.c.model == model)
        with self.database.begin() as connection:
            if connection.execute(select(accepted_licences.c.at).where(same)).first() is None:
                connection.execute(insert(accepted_licences).values(licence=licence, model=model, at=now()))

    def has_accepted(self, licence: str, model: str) -> bool:
        same = (accepted_licences.c.licence == licence) & (accepted_licences.c.model == model)
        with self.database.begin(read_only=True) as connection:
            return connection.execute(select(accepted_licences.c.at).where(same)).first() is not None


def _same(table: Any, card: ModelCard) -> Any:
    return and_(table.c.name == card.name, table.c.version == card.version)


def _owners(connection: Connection, card: ModelCard) -> frozenset[str]:
    return frozenset(connection.execute(select(model_projects.c.project).where(_same(model_projects, card))).scalars())
