"""Dataset versions, and lineage: which artefact was made of which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", "project", name="pk_datasets"),
    )
    op.create_index("ix_datasets_project", "datasets", ["project"], unique=False)
    op.create_table(
        "lineage",
        sa.Column("child", sa.String(length=255), nullable=False),
        sa.Column("parent", sa.String(length=255), nullable=False),
        sa.Column("relation", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("child", "parent", "relation", name="pk_lineage"),
    )
    op.create_index("ix_lineage_parent", "lineage", ["parent"], unique=False)


def downgrade() -> None:
    op.drop_table("lineage")
    op.drop_table("datasets")
