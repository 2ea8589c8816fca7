"""The commands of the model library, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = """
import sys, typer
from llmos.cli import models
from llmos.cli.output import fail
from llmos.errors import LLMOSError
app = typer.Typer()
models.add_to(app)
try:
    app(standalone_mode=False)
except LLMOSError as error:
    fail(error)
    sys.exit(1)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def llmos(tmp_path: Path) -> Run:
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "LLMOS_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "COLUMNS": "200",
    }

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-c", RUN, *arguments], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_the_life_of_a_model(llmos: Run, asset: Callable[[str], Path]) -> None:
    assert "No models yet" in llmos("list").stderr
    done = llmos("import", str(asset("bert-tiny-mlm")), "--name", "tiny")
    assert done.stdout == "tiny\n"
    assert "18.4 MB, masked" in done.stderr
    listed = json.loads(llmos("list", "--json").stdout)["models"]
    assert [(model["name"], model["family"]) for model in listed] == [("tiny", "masked")]
    assert "tiny" in llmos("list").stdout
    llmos("alias", "prod", "tiny", "--reason", "because")
    assert "prod means tiny" in llmos("alias", "prod", "tiny").stderr
    assert "because" in llmos("alias", "prod").stdout
    assert json.loads(llmos("alias", "--json").stdout)["aliases"] == {"prod": "tiny"}
    assert json.loads(llmos("show", "prod", "--json").stdout)["architecture"] == "bert"
    assert "model.safetensors" in llmos("show", "tiny").stdout
    assert "CHOSEN" in llmos("show", "tiny", "--engines").stdout
    assert "ok" in llmos("verify").stdout
    assert "The alias prod needs" in llmos("rm", "tiny", code=1).stderr
    llmos("alias", "prod", "--remove")
    assert llmos("rm", "tiny").stdout.startswith("tiny:")
    assert llmos("gc").stdout == "0\n"
    assert json.loads(llmos("gc", "--dry-run", "--json").stdout)["dry_run"] is True


def test_damage_is_exit_1(llmos: Run, asset: Callable[[str], Path], tmp_path: Path) -> None:
    llmos("import", str(asset("bert-tiny-mlm")), "--name", "tiny")
    blob = (tmp_path / "home" / "models").glob("*/vocab.txt*")
    victim = next((tmp_path / "home" / "models").glob("*/config.json")).resolve()
    assert list(blob) == []
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1])
    done = llmos("verify", "tiny", code=1)
    assert "1 files are damaged" in done.stderr
    assert "712 bytes instead of 713" in done.stdout


def test_what_the_catalogue_knows(llmos: Run) -> None:
    assert "t5-base" in llmos("list", "--all").stdout
    shown = llmos("show", "t5-base")
    assert "hf:google-t5/t5-base" in shown.stdout
    assert "llmos pull t5-base" in shown.stderr
    assert "Did you mean" in llmos("show", "t5-bse", code=1).stderr


def test_offline_and_licences(llmos: Run) -> None:
    failed = llmos("pull", "bert-base-uncased", code=1).stderr
    assert "cannot be reached" in failed
    assert "llmos import FOLDER --name bert-base-uncased" in failed
    assert "--accept-licence" in llmos("pull", "gemma-3-270m", code=1).stderr
