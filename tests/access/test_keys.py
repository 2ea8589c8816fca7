"""Keys as rows, and the ring that says who a key is: states, rotation, revocation, projects."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from llmos.access.base import ENV, LOCAL, Quotas, Scope
from llmos.access.keys import Keys
from llmos.access.keytext import new_key
from llmos.access.projects import Projects
from llmos.access.ring import FRESH_S, Ring
from llmos.access.secret import Secret
from llmos.errors import Conflict, InvalidValue, LLMOSError, NotFound, PermissionDenied
from llmos.infra.database import Database
from llmos.infra.tables import api_keys


def ring_of(keys: Keys, *, env_key: str | None = None, open_without_keys: bool = True) -> Ring:
    made = Ring(keys, env_key=env_key, open_without_keys=open_without_keys)
    made.refresh()
    return made


def test_a_key_says_who_it_is(keys: Keys) -> None:
    quotas = Quotas(requests_per_minute=5, disk_bytes=10**12)
    key, text = keys.create("alice", project="shop", scopes=["jobs", "inference"], priority="normal", quotas=quotas)
    caller = ring_of(keys).caller(text)
    assert (caller.key_id, caller.account, caller.project, caller.priority) == (key.id, key.id, "shop", "normal")
    assert caller.quotas == quotas
    assert caller.scopes == {Scope.JOBS, Scope.INFERENCE}
    assert not caller.everywhere
    assert keys.get("alice") == keys.get(key.id) == key


def test_the_key_is_nowhere_in_the_database(keys: Keys, database: Database) -> None:
    _, text = keys.create("alice")
    with database.begin(read_only=True) as connection:
        rows = str(connection.execute(sa.select(api_keys)).all())
    assert text not in rows
    assert text.removeprefix("llmos_")[:20] not in rows


def test_another_secret_makes_every_key_unknown(keys: Keys, database: Database) -> None:
    _, text = keys.create("alice")
    with pytest.raises(PermissionDenied, match="not valid"):
        ring_of(Keys(database, Secret(b"t" * 32))).caller(text)


def test_until_there_is_a_key_the_local_user_needs_none(keys: Keys) -> None:
    ring = ring_of(keys)
    assert ring.caller("") == LOCAL
    key, _ = keys.create("alice")
    ring.changed()
    ring.refresh()
    with pytest.raises(PermissionDenied, match="No API key"):
        ring.caller("")
    keys.revoke(key.id)
    ring.changed()
    ring.refresh()
    with pytest.raises(PermissionDenied, match="No API key"):
        ring.caller("")  # revoking the last one does not open the door


def test_off_loopback_everybody_needs_one(keys: Keys) -> None:
    with pytest.raises(PermissionDenied):
        ring_of(keys, open_without_keys=False).caller("")


def test_the_configured_key_is_an_admin(keys: Keys) -> None:
    ring = ring_of(keys, env_key="any text at all")
    assert ring.caller("any text at all") == ENV
    assert ENV.everywhere
    for wrong in ("", "any text", new_key()):
        with pytest.raises(PermissionDenied):
            ring.caller(wrong)


def test_what_is_wrong_with_a_key(keys: Keys) -> None:
    ring = ring_of(keys, env_key="x")
    for text, said in (
        (new_key(), "not valid"),
        (new_key()[:-1] + "!", "mistyped"),
        (new_key()[:-2], "mistyped"),
        ("what", "not valid"),
    ):
        with pytest.raises(PermissionDenied, match=said):
            ring.caller(text)


def test_expiry(keys: Keys) -> None:
    key, text = keys.create("brief", expires_in_s=1)
    ring = ring_of(keys)
    assert ring.caller(text).key_id == key.id
    time.sleep(1.1)
    with pytest.raises(PermissionDenied, match="expired"):
        ring.caller(text)  # without reading the database again
    assert keys.get("brief").state == "expired"


def test_revocation_here_and_in_another_server(keys: Keys, database: Database, secret: Secret) -> None:
    key, text = keys.create("alice")
    here, there = ring_of(keys), ring_of(Keys(database, secret))
    keys.revoke("alice")
    here.changed()
    here.refresh()
    with pytest.raises(PermissionDenied, match="revoked"):
        here.caller(text)
    time.sleep(FRESH_S)
    assert there.stale
    there.refresh()
    with pytest.raises(PermissionDenied, match="revoked"):
        there.caller(text)
    assert keys.revoke(key.id).revoked_at == keys.get(key.id).revoked_at  # twice is once


def test_rotation_keeps_rights_and_account_and_gives_a_grace(keys: Keys) -> None:
    old, old_text = keys.create("alice", project="shop", scopes=["admin"], expires_in_s=1000)
    new, new_text = keys.rotate("alice", grace_s=1)
    assert (new.name, new.project, new.scopes, new.quotas, new.replaces) == (old.name, old.project, old.scopes, old.quotas, old.id)
    assert new.expires_at is not None and old.expires_at is not None and new.expires_at >= old.expires_at
    ring = ring_of(keys)
    assert {ring.caller(text).account for text in (old_text, new_text)} == {old.id}
    assert set(ring.members(old.id)) == {old.id, new.id}
    time.sleep(1.1)
    with pytest.raises(PermissionDenied, match="expired"):
        ring.caller(old_text)
    assert ring.caller(new_text).key_id == new.id
    assert keys.get("alice").id == new.id  # of two with the name, the one that is valid
    with pytest.raises(Conflict):
        keys.rotate(old.id)


def test_a_key_is_rotated_once(keys: Keys) -> None:
    old, _ = keys.create("alice")
    keys.rotate(old.id)
    with pytest.raises(Conflict, match="already"):
        keys.rotate(old.id)


def test_grace_never_lengthens_a_life(keys: Keys) -> None:
    old, _ = keys.create("alice", expires_in_s=60)
    keys.rotate(old.id, grace_s=10**6)
    assert keys.get(old.id).expires_at == old.expires_at


def test_unknown_and_ambiguous_names(keys: Keys) -> None:
    first, _ = keys.create("alice")
    keys.create("alice")
    with pytest.raises(Conflict, match=first.id):
        keys.get("alice")
    with pytest.raises(NotFound, match=r"There is no key 'alicia'.*Did you mean alice"):
        keys.get("alicia")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x1b[31mb"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": new_key()}, "name"),
        ({"name": "a", "project": "../x"}, "project"),
        ({"name": "a", "project": "Ä"}, "project"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["inferance"]}, "scopes"),
        ({"name": "a", "priority": "urgent"}, "priority"),
        ({"name": "a", "quotas": Quotas(jobs=-1)}, "quotas.jobs"),
        ({"name": "a", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "a", "expires_in_s": float("nan")}, "expires_in_s"),
    ],
)
def test_bad_fields_are_named(keys: Keys, fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        keys.create(**fields)  # type: ignore[arg-type]  # what a careless caller may hand over
    assert caught.value.param == param
    assert keys.list() == []


def test_last_use_is_noted_coarsely(keys: Keys) -> None:
    key, text = keys.create("alice")
    ring = ring_of(keys)
    assert keys.get("alice").last_used_at is None
    for _ in range(10):
        ring.caller(text)
    ring.write_used()
    first = keys.get("alice").last_used_at
    assert first is not None
    ring.caller(text)
    ring.write_used()
    assert keys.get(key.id).last_used_at == first  # the same minute


def test_projects_are_there_from_their_first_use(keys: Keys, database: Database) -> None:
    projects = Projects(database)
    assert [(one.name, one.keys) for one in projects.list()] == [("default", 0)]
    keys.create("a", project="shop")
    keys.create("b", project="shop")
    projects.log_contents("lab", True)
    ring = ring_of(keys)
    assert [(one.name, one.keys, one.log_contents) for one in projects.list()] == [
        ("default", 0, False),
        ("lab", 0, True),
        ("shop", 2, False),
    ]
    assert ring.logs_contents("lab") and not ring.logs_contents("shop")
    assert [key.name for key in keys.list(project="shop")] == ["b", "a"]
    with pytest.raises(LLMOSError):
        projects.log_contents("No Name", True)
