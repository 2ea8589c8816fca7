"""Pseudonyms that are the same wherever a value is found again, and the way back for who asked for it beforehand.

    LLMOS_HOME/vault/<name>/key                 256 random bits, made on first use; without it nobody can test a guess
                           /kept/<hash>.parquet   pseudonym -> value, only for recipes that say `reversible: true`
                    /.projects/<project>/<name>   of a project on a server: its keys are no other project's

Everything in a vault is readable by its owner only (0600) and stands apart from the data it belongs to, so that a dataset version can
be given away while its vault stays. A key never changes: another one has another name. Deleting a vault makes its pseudonyms final.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from filelock import FileLock

from llmos.errors import NotFound, StorageError
from llmos.infra.files import make_dir, storage_errors, write_atomic
from llmos.settings import Settings

PSEUDONYM = re.compile(r"<[A-Z_]+:[0-9a-f]{16}>")
HEX = 16  # 64 bits: two of a hundred million values share one with a chance of 0.03 % (birthday bound)
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_OWNER = 0o600


class Vault:
    """One named key. Raises StorageError when it cannot be read or made."""

    def __init__(self, settings: Settings, name: str = "default", project: str | None = None) -> None:
        """project: None for this machine's own user."""
        root = settings.home / "vault"
        self.folder = (root if project is None else root / ".projects" / project) / name
        self._key = _key(self.folder)

    @property
    def key_id(self) -> str:
        """Tells keys apart and nothing of the key: after a vault was deleted, its name means another key."""
        return hmac.new(self._key, b"id", hashlib.sha256).hexdigest()[:HEX]

    def pseudonym(self, kind: str, value: str) -> str:
        """`<EMAIL:3fa9…>`: HMAC-SHA256 of kind and value, 64 bits of it."""
        digest = hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
        return f"<{kind.upper()}:{digest[:HEX]}>"

    def keep(self, values: Mapping[str, str]) -> None:
        """Writes pseudonym -> value; the same ones again change nothing."""
        if not values:
            return
        pairs = sorted(values.items())
        name = hashlib.sha256(repr(pairs).encode()).hexdigest()
        out = io.BytesIO()
        pl.DataFrame(pairs, schema={"pseudonym": pl.String, "value": pl.String}, orient="row").write_parquet(out)
        _closed(self.folder / "kept")
        write_atomic(self.folder / "kept" / f"{name}.parquet", out.getvalue(), _OWNER)

    def restore(self, texts: Sequence[str]) -> list[str]:
        """The texts with every kept pseudonym replaced by its value, in one of the spellings it was found in. Pseudonyms of another
        vault stay. Raises NotFound when this vault keeps none."""
        if not any((self.folder / "kept").glob("*.parquet")):
            raise NotFound(
                f"The vault {self.folder.name} keeps no values.", hint="Only recipes with `redact: {reversible: true}` fill it."
            )
        asked = {one for text in texts for one in PSEUDONYM.findall(text)}
        kept = (
            pl.scan_parquet(self.folder / "kept" / "*.parquet")
            .filter(pl.col("pseudonym").is_in(sorted(asked)))
            .collect()
            .sort("value")
        )
        values = dict(kept.iter_rows())
        return [PSEUDONYM.sub(lambda found: values.get(found[0], found[0]), text) for text in texts]


def _key(folder: Path) -> bytes:
    path = folder / "key"
    with storage_errors(path):
        if not path.exists():
            _closed(folder)
            with FileLock(folder / ".lock"):
                if not path.exists():
                    write_atomic(path, secrets.token_hex(32), _OWNER)
        found = path.read_bytes().strip()
    if len(found) < 32:
        raise StorageError(f"{path} does not hold a key.", hint="Restore it; a new key makes new pseudonyms.")
    return found


def _closed(folder: Path) -> Path:
    make_dir(folder).chmod(0o700)
    return folder
