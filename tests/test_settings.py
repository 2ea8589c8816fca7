"""What the environment decides: read once, checked at once, and wrong values named."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.errors import InvalidValue
from llmos.settings import Settings, boot_id, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 2**20), ("8GiB", 8 * 2**30), ("500 MB", 500_000_000), ("1.5k", 1536), ("0", 0)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("300", 300), ("5m", 300), ("1h", 3600), ("-1", -1), ("0.5s", 0.5), ("2d", 172_800)])
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_a_bad_value_is_named_with_its_variable() -> None:
    with pytest.raises(InvalidValue) as refused:
        Settings.from_env({"LLMOS_PORT": "many"})
    assert "LLMOS_PORT" in str(refused.value) and "many" in str(refused.value)


def test_machines_that_share_a_home_do_not_share_the_folder_of_their_locks(tmp_path: Path) -> None:
    folder = Settings.from_env({"LLMOS_HOME": str(tmp_path)}).run_folder
    assert folder.parent == tmp_path / "run" and folder.name == boot_id()[:12] != ""
