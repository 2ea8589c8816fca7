"""Personal data out of a dataset: what comes out, what the ledger says, and what no file may hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets, Version
from llmos.errors import InvalidValue, NotFound
from llmos.library.library import Library
from llmos.safety.pii.vault import PSEUDONYM, Vault
from llmos.settings import Settings
from tests.data.mails import mails
from tests.data.running import run

ROWS = [
    {"text": "Mail jane@example.com or call +1 415 555 2671."},
    {"text": "Nothing here."},
    {"text": "JANE@example.com paid with 4111 1111 1111 1111; 身份证号11010519491231002X。"},
]


def texts(version: Version) -> list[str]:
    found: list[str] = version.scan().collect().get_column("text").to_list()
    return found


def ledger(version: Version) -> pl.DataFrame:
    return version.ledger().collect()


def test_findings_are_masked_and_counted_by_kind(tmp_path: Path) -> None:
    version = run(tmp_path, ROWS, ["redact"])
    assert texts(version) == [
        "Mail <EMAIL> or call <PHONE>.", "Nothing here.", "<EMAIL> paid with <CREDIT_CARD>; 身份证号<CHINESE_ID>。",
    ]  # fmt: skip
    told = ledger(version).select("_id", "action", "signal", "value", "detail").rows()
    assert told == [
        ("rows#1", "changed", "findings", 2.0, "1 email, 1 phone"),
        ("rows#3", "changed", "findings", 3.0, "1 chinese_id, 1 credit_card, 1 email"),
    ]


def test_single_kinds_placeholders_and_actions(tmp_path: Path) -> None:
    version = run(tmp_path, ROWS, [{"redact": {"kinds": ["email", "phone"], "placeholder": "", "actions": {"phone": "keep"}}}])
    assert texts(version)[0] == "Mail  or call +1 415 555 2671."
    assert "4111" in texts(version)[2]


def test_pseudonyms_are_equal_for_equal_values_and_in_another_vault_different(tmp_path: Path) -> None:
    config = {"kinds": ["email"], "action": "hash"}
    version = run(tmp_path, ROWS, [{"redact": config}])
    first, third = PSEUDONYM.findall("".join(texts(version)))
    assert first == third and first.startswith("<EMAIL:")
    assert texts(run(tmp_path, ROWS, [{"redact": config}])) == texts(version)
    assert first not in texts(run(tmp_path, ROWS, [{"redact": config | {"key": "other"}}]))[0]
    assert not (tmp_path / "vault" / "default" / "kept").exists()


def test_a_new_key_makes_all_pseudonyms_anew(tmp_path: Path) -> None:
    """Parts that were computed with the key that was deleted are not used again."""
    config = {"kinds": ["email"], "action": "hash"}
    before = texts(run(tmp_path, ROWS, [{"redact": config}]))
    shutil.rmtree(tmp_path / "vault")
    after = texts(run(tmp_path, ROWS, [{"redact": config}]))
    assert PSEUDONYM.findall(before[0]) != PSEUDONYM.findall(after[0])
    assert after[0].split("<")[0] == before[0].split("<")[0]


def test_projects_of_a_server_have_keys_of_their_own(tmp_path: Path) -> None:
    """Else one could test guesses at what another's pseudonyms stand for."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    database = Library.open(settings).database
    recipe = Recipe.build(
        {"sources": [{"rows": ROWS}], "process": [{"redact": {"kinds": ["email"], "action": "hash"}}], "executor": "inline"}
    )
    made = [texts(Run(recipe=recipe, datasets=Datasets(settings, database, one)).execute()) for one in (None, "red", "blue", "red")]
    assert made[1] == made[3]
    assert len({PSEUDONYM.findall(one[0])[0] for one in made}) == 3
    with pytest.raises(NotFound):
        Vault(settings, project="red").restore(made[1])


def test_only_a_reversible_run_can_be_undone(tmp_path: Path) -> None:
    version = run(tmp_path, ROWS, [{"redact": {"action": "hash", "reversible": True, "actions": {"credit_card": "mask"}}}])
    vault = Vault(Settings.from_env({"LLMOS_HOME": str(tmp_path)}))
    restored = vault.restore(texts(version))
    assert restored[0] == ROWS[0]["text"]
    assert restored[2].lower() == str(ROWS[2]["text"]).lower().replace("4111 1111 1111 1111", "<credit_card>")


def everything_under(home: Path, leave_out: Path) -> bytes:
    """Every cell of every Parquet file and all other bytes."""
    found = []
    for path in home.rglob("*"):
        if path.is_file() and leave_out not in path.parents:
            found.append(str(pl.read_parquet(path).to_dicts()).encode() if path.suffix == ".parquet" else path.read_bytes())
    return b"".join(found)


def test_a_dropped_row_is_in_no_file(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text('{"text": "The key is AKIAIOSFODNN7EXAMPLE."}\n{"text": "Fine."}\n')
    home = tmp_path / "home"
    version = run(home, [], [{"redact": {"action": "drop"}}], sources=[{"path": str(source)}])
    assert texts(version) == ["Fine."]
    (gone,) = ledger(version).to_dicts()
    assert gone["action"] == "dropped" and gone["signal"] == "findings" and gone["value"] == 1.0 and gone["threshold"] == 0.0
    assert gone["detail"] == "1 api_key" and gone["row"] is None
    assert b"AKIA" not in everything_under(home, home / "vault")


def test_values_of_dropped_rows_are_not_kept_in_the_vault(tmp_path: Path) -> None:
    rows = [{"text": "jane@example.com 4111 1111 1111 1111"}, {"text": "joe@example.com"}]
    run(tmp_path, rows, [{"redact": {"action": "hash", "reversible": True, "actions": {"credit_card": "drop"}}}])
    (kept,) = (tmp_path / "vault" / "default" / "kept").glob("*.parquet")
    assert pl.read_parquet(kept).get_column("value").to_list() == ["joe@example.com"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"kinds": ["email"], "actions": {"phone": "drop"}}, "not looked for"),
        ({"reversible": True}, "no action is `hash`"),
    ],
)
def test_parameters_that_clash_are_told(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        run(tmp_path, ROWS, [{"redact": config}])


def test_real_mails_leave_no_address_and_batches_make_no_difference(tmp_path: Path) -> None:
    try:
        rows = [{"text": text} for text in mails(count=120)]
    except OSError as problem:
        pytest.skip(f"the mails could not be fetched: {problem}")
    config = {"redact": {"action": "hash", "kinds": ["email", "ip_address", "phone"]}}
    whole = run(tmp_path, rows, [config])
    cut = run(tmp_path, rows, [config], read={"batch_bytes": 2000})
    assert texts(whole) == texts(cut)
    assert ledger(whole).equals(ledger(cut))
    again = run(tmp_path, [{"text": text} for text in texts(whole)], ["redact"])
    left = ledger(again).get_column("detail").to_list()
    assert not [one for one in left if "email" in one or "ip_address" in one]
