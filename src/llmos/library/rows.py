"""The rows that make a model exist: one card per name and version. Written last on a pull, deleted first on a removal."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from llmos.infra.database import Database
from llmos.infra.tables import accepted_licences, models
from llmos.library.base import ModelCard
from llmos.library.cards import dump_card, load_card, now


class ModelRows:
    """Cards in the database. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> list[ModelCard]:
        """By name, newest version first."""
        with self.database.begin(read_only=True) as connection:
            rows = connection.execute(select(models.c.card).order_by(models.c.name, models.c.created_at.desc()))
            return [load_card(card) for card in rows.scalars()]

    def find(self, name: str, version: str = "") -> list[ModelCard]:
        """Cards of that name whose version starts so, newest first."""
        wanted = select(models.c.card).where(models.c.name == name).order_by(models.c.created_at.desc())
        if version:
            wanted = wanted.where(models.c.version.startswith(version, autoescape=True))
        with self.database.begin(read_only=True) as connection:
            return [load_card(card) for card in connection.execute(wanted).scalars()]

    def add(self, card: ModelCard) -> ModelCard:
        """The card as the library has it: an equal one that is there already stays, with its own date and source."""
        same = (models.c.name == card.name) & (models.c.version == card.version)
        with self.database.begin() as connection:
            known = connection.execute(select(models.c.card).where(same)).scalar_one_or_none()
            if known is not None:
                return load_card(known)
            row = {"name": card.name, "version": card.version, "card": dump_card(card), "created_at": card.created_at}
            connection.execute(insert(models).values(**row))
            return card

    def remove(self, card: ModelCard) -> None:
        with self.database.begin() as connection:
            connection.execute(delete(models).where((models.c.name == card.name) & (models.c.version == card.version)))

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
