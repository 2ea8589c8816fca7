"""What the routes of keys, projects, usage and audit answer, for the OpenAPI document (as server/answers.py, which says how)."""

from __future__ import annotations

from typing import Any, Literal

from llmos.server.answers import Answer


class KeyQuotas(Answer):
    """None: no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_per_day: int | None
    tokens_per_day: int | None
    jobs: int | None
    disk_bytes: int | None


class KeyAnswer(Answer):
    """A key without what opens doors. last_used_at is right to a minute."""

    id: str
    name: str
    project: str
    scopes: list[str]
    priority: Literal["interactive", "normal", "batch"]
    quotas: KeyQuotas
    state: Literal["active", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    replaces: str | None
    last_used_at: str | None


class NewKeyAnswer(KeyAnswer):
    """key: the key itself; it is shown here and never again."""

    key: str


class KeyListAnswer(Answer):
    keys: list[KeyAnswer]


class ProjectAnswer(Answer):
    """keys: how many it has had."""

    name: str
    log_contents: bool
    created_at: str
    keys: int


class ProjectListAnswer(Answer):
    projects: list[ProjectAnswer]


class UsedAnswer(Answer):
    """key_id: "" for the machine's own user, "env" for LLMOS_API_KEY. cached_tokens: of prompt_tokens, those not computed again."""

    day: str
    project: str
    key_id: str
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class UsageAnswer(Answer):
    usage: list[UsedAnswer]


class AuditEntry(Answer):
    seq: int
    at: str
    actor: str
    project: str
    action: str
    target: str
    outcome: Literal["ok", "failed", "refused"]
    details: dict[str, Any]
    hash: str


class AuditAnswer(Answer):
    """before: for the next page, null when this is the last."""

    rows: list[AuditEntry]
    before: int | None


class VerdictAnswer(Answer):
    """first_bad: the first row that is not as it was written. missing: how many rows are gone."""

    ok: bool
    num_rows: int
    first_bad: int | None
    missing: int
    problem: str
