"""The tables, as SQLAlchemy Core. A change here goes with a migration in `migrations/versions`; a test compares the two.

JSON is kept as text, times as UTC in ISO 8601, so that rows read the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0004"  # the newest migration; what a database must be at for this program

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# A model is there when its row is; files without a row are nobody's. `card` is the ModelCard as JSON.
models = Table(
    "models",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("card", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# Where a name stands for another, now and before. `target` NULL in the history: the alias was removed.
aliases = Table(
    "aliases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("target", String(512), nullable=False),
    Column("updated_at", String(32), nullable=False),
)
alias_history = Table(
    "alias_history",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(255), nullable=False),
    Column("target", String(512)),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Index("ix_alias_history_name", "name"),
)

accepted_licences = Table(
    "accepted_licences",
    metadata,
    Column("licence", String(255), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("at", String(32), nullable=False),
)

# Measured engine tables; `key` says model version, machine and engine versions.
engine_choices = Table(
    "engine_choices",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    Column("at", String(32), nullable=False),
)

# -- jobs (kernel/store.py) --------------------------------------------------------------------------------------------
# JSON columns: params, resources, retry, labels, progress, checkpoint, result, error. Meaning of each: Job in kernel/base.py.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),  # grows with time: ordering by it is ordering by submission
    Column("kind", String(64), nullable=False),
    Column("params", Text, nullable=False),
    Column("project", String(64), nullable=False),
    Column("submitted_by", String(64), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("resources", Text, nullable=False),
    Column("retry", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("idempotency_key", String(255)),
    Column("state", String(16), nullable=False),
    Column("wish", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("runner", String(128), nullable=False),
    Column("beat", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("progress", Text, nullable=False),
    Column("checkpoint", Text),
    Column("result", Text),
    Column("error", Text),
    Column("created_at", String(32), nullable=False),
    Column("not_before", String(32)),
    Column("deadline_at", String(32)),
    Column("started_at", String(32)),
    Column("finished_at", String(32)),
    UniqueConstraint("project", "idempotency_key"),
    Index("ix_jobs_state", "state"),
    Index("ix_jobs_project", "project"),
)
job_dependencies = Table(
    "job_dependencies",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("needs", String(40), primary_key=True),
    Index("ix_job_dependencies_needs", "needs"),
)
job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("at", String(32), nullable=False),
    Column("type", String(16), nullable=False),
    Column("data", Text, nullable=False),
)
# Who runs jobs now. `beat` stands still when the process is gone; host and pid let a neighbour see that at once.
runners = Table(
    "runners",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("host", String(128), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("facts", Text, nullable=False),
    Column("started_at", String(32), nullable=False),
)

# -- files that users send and jobs make (infra/uploads.py); the bytes are a blob ------------------------------------
files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),
    Index("ix_files_project", "project"),
    Index("ix_files_sha256", "sha256"),
)

# -- access (access/) ---------------------------------------------------------------------------------------------------
projects = Table(
    "projects",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("log_contents", Integer, nullable=False),  # 1: requests and answers of this project are kept for its feedback loop
    Column("created_at", String(32), nullable=False),
)
# A key is kept as HMAC-SHA256 only. scopes and quotas are JSON.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(128), nullable=False),
    Column("project", String(64), ForeignKey("projects.name"), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("priority", String(16), nullable=False),
    Column("quotas", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),
    Column("revoked_at", String(32)),
    Column("replaces", String(40)),
    Column("last_used_at", String(32)),
)
# What each key has used of a quota in the window that began at `window` (ISO 8601); and what it used of a model on a day.
quota_use = Table(
    "quota_use",
    metadata,
    Column("key_id", String(40), primary_key=True),
    Column("quota", String(32), primary_key=True),
    Column("window", String(32), nullable=False),
    Column("used", BigInteger, nullable=False),
)
usage = Table(
    "usage",
    metadata,
    Column("key_id", String(40), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
)
# Each row's hash covers the row and the hash before it: an edit or a removal in the middle breaks the chain.
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("project", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(255), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("details", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)
# Which projects see a model; a row with the project "" shows it to all.
model_projects = Table(
    "model_projects",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("project", String(64), primary_key=True),
)

# -- annotation (data/annotate/) -----------------------------------------------------------------------------------------
# JSON columns: config, data, prelabel, adjudicated, value, previous. Meaning of each: the records of data/annotate/base.py.
annotation_projects = Table(
    "annotation_projects",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("name", String(128), nullable=False),
    Column("task", String(64), nullable=False),
    Column("config", Text, nullable=False),
    Column("version", Integer, nullable=False),  # grows with every change of the configuration
    Column("num_items", Integer, nullable=False),  # the number of the newest item
    Column("created_by", String(128), nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("project", "name"),
)
# num_done: annotations that are no skips. rank: items come in its order, then in that of their numbers.
annotation_items = Table(
    "annotation_items",
    metadata,
    Column("annotation_id", String(40), ForeignKey("annotation_projects.id", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("key", String(128), nullable=False),
    Column("data", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("num_done", Integer, nullable=False),
    Column("differs", Integer, nullable=False),
    Column("rank", Float, nullable=False),
    Column("prelabel", Text),
    Column("uncertainty", Float),
    Column("adjudicated", Text),
    UniqueConstraint("annotation_id", "key"),
    Index("ix_annotation_items_order", "annotation_id", "state", "rank", "item"),
)
annotation_answers = Table(
    "annotation_answers",
    metadata,
    Column("annotation_id", String(40), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("annotator", String(128), primary_key=True),
    Column("value", Text),  # NULL: skipped
    Column("skipped", Text),
    Column("seconds", Float, nullable=False),
    Column("version", Integer, nullable=False),
    Column("source", String(16), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    ForeignKeyConstraint(
        ["annotation_id", "item"], ["annotation_items.annotation_id", "annotation_items.item"], ondelete="CASCADE"
    ),
)
# A place at an item that is reserved for somebody until `until` (seconds since 1970).
annotation_leases = Table(
    "annotation_leases",
    metadata,
    Column("annotation_id", String(40), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("annotator", String(128), primary_key=True),
    Column("until", Float, nullable=False),
    ForeignKeyConstraint(
        ["annotation_id", "item"], ["annotation_items.annotation_id", "annotation_items.item"], ondelete="CASCADE"
    ),
    Index("ix_annotation_leases_annotator", "annotation_id", "annotator"),
)
# Rows are only added; `undone` alone is set later.
annotation_history = Table(
    "annotation_history",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("annotation_id", String(40), ForeignKey("annotation_projects.id", ondelete="CASCADE"), nullable=False),
    Column("item", Integer, nullable=False),
    Column("annotator", String(128), nullable=False),
    Column("at", String(32), nullable=False),
    Column("action", String(16), nullable=False),
    Column("value", Text),
    Column("previous", Text),
    Column("seconds", Float, nullable=False),
    Column("undone", Integer, nullable=False),
    Index("ix_annotation_history_annotator", "annotation_id", "annotator", "number"),
    Index("ix_annotation_history_item", "annotation_id", "item"),
)

# -- datasets (data/store.py) and lineage (library/lineage.py) --------------------------------------------------------------
# A dataset version is there when its row is; its files lie in LLMOS_HOME/datasets/<name>/<version>.
datasets = Table(
    "datasets",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("project", String(64), primary_key=True),
    Column("created_at", String(32), nullable=False),
    Index("ix_datasets_project", "project"),
)
# Artefacts are named `<kind>:<name>@<hash>`.
lineage = Table(
    "lineage",
    metadata,
    Column("child", String(255), primary_key=True),
    Column("parent", String(255), primary_key=True),
    Column("relation", String(32), primary_key=True),
    Column("detail", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Index("ix_lineage_parent", "parent"),
)
