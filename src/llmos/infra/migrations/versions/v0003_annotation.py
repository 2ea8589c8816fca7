"""Annotation: projects, their items, what annotators said of them, reservations, and the history of it all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ITEM = ["annotation_items.annotation_id", "annotation_items.item"]


def upgrade() -> None:
    _projects()
    _said()
    _history()


def _projects() -> None:
    op.create_table(
        "annotation_projects",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("num_items", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_annotation_projects"),
        sa.UniqueConstraint("project", "name", name="uq_annotation_projects_project_name"),
    )
    op.create_table(
        "annotation_items",
        sa.Column("annotation_id", sa.String(length=40), nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("num_done", sa.Integer(), nullable=False),
        sa.Column("differs", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Float(), nullable=False),
        sa.Column("prelabel", sa.Text(), nullable=True),
        sa.Column("uncertainty", sa.Float(), nullable=True),
        sa.Column("adjudicated", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotation_id"],
            ["annotation_projects.id"],
            name="fk_annotation_items_annotation_id_annotation_projects",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("annotation_id", "item", name="pk_annotation_items"),
        sa.UniqueConstraint("annotation_id", "key", name="uq_annotation_items_annotation_id_key"),
    )
    op.create_index("ix_annotation_items_order", "annotation_items", ["annotation_id", "state", "rank", "item"], unique=False)


def _said() -> None:
    op.create_table(
        "annotation_answers",
        sa.Column("annotation_id", sa.String(length=40), nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("annotator", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("skipped", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("updated_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotation_id", "item"], _ITEM, name="fk_annotation_answers_annotation_id_annotation_items", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("annotation_id", "item", "annotator", name="pk_annotation_answers"),
    )
    op.create_table(
        "annotation_leases",
        sa.Column("annotation_id", sa.String(length=40), nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("annotator", sa.String(length=128), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotation_id", "item"], _ITEM, name="fk_annotation_leases_annotation_id_annotation_items", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("annotation_id", "item", "annotator", name="pk_annotation_leases"),
    )
    op.create_index("ix_annotation_leases_annotator", "annotation_leases", ["annotation_id", "annotator"], unique=False)


def _history() -> None:
    op.create_table(
        "annotation_history",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("annotation_id", sa.String(length=40), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.String(length=128), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("undone", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotation_id"],
            ["annotation_projects.id"],
            name="fk_annotation_history_annotation_id_annotation_projects",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("number", name="pk_annotation_history"),
    )
    op.create_index("ix_annotation_history_annotator", "annotation_history", ["annotation_id", "annotator", "number"], unique=False)
    op.create_index("ix_annotation_history_item", "annotation_history", ["annotation_id", "item"], unique=False)


def downgrade() -> None:
    for table in ("annotation_history", "annotation_leases", "annotation_answers", "annotation_items", "annotation_projects"):
        op.drop_table(table)
