"""The doctor's report: JSON-able, complete, and each problem with its fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmos.infra.doctor import EngineFact, Report, doctor
from llmos.settings import Settings
from tests.infra.web import Web

GOOD = EngineFact("llamacpp", installed=True, version="1.0")


@pytest.fixture
def local(tmp_path: Path, web: Web) -> Settings:
    """All hubs are one local server."""
    hubs = dict.fromkeys(("HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "LLMOS_PYPI_INDEX"), web.url)
    return Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path), **hubs})


def whats(report: Report) -> str:
    assert all(problem.what and problem.fix for problem in report.problems)
    return " ".join(problem.what for problem in report.problems)


def test_healthy(local: Settings) -> None:
    report = doctor(local, engines=[GOOD])
    told = json.loads(json.dumps(report.to_dict()))
    sections = told["sections"]
    assert list(sections) == ["program", "processor", "memory", "engines", "home", "hubs"]
    assert sections["processor"]["memory bandwidth GB/s"]["value"] > 0 and sections["processor"]["GEMM GFLOP/s"]["value"] > 0
    assert sections["engines"]["llamacpp"]["value"] == "1.0"
    assert [fact["value"] for fact in sections["hubs"].values()] == [True, True, True]
    assert "engine" not in whats(report) and "hub" not in whats(report)
    assert (local.home / "db.sqlite3").exists() and not list(local.home.glob(".doctor*"))


def test_hubs_that_are_gone(local: Settings, web: Web) -> None:
    web.close()
    report = doctor(local, engines=[GOOD], measure=False)
    assert "No hub can be reached" in whats(report)
    assert "GEMM GFLOP/s" not in report.to_dict()["sections"]["processor"]


def test_offline_mode_asks_no_hub(local: Settings, web: Web) -> None:
    offline = local.model_copy(update={"hf_hub_offline": True})
    hubs = doctor(offline, engines=[GOOD], measure=False).to_dict()["sections"]["hubs"]
    assert hubs["Hugging Face"] == {"value": None, "why": "not asked: HF_HUB_OFFLINE is set"}
    assert len(web.asked) == 2
    assert "hubs" not in doctor(offline, measure=False, hubs=False).to_dict()["sections"]
    assert len(web.asked) == 2


def test_missing_and_broken_engines(local: Settings) -> None:
    missing = EngineFact("transformers", installed=False, install="pip install 'llmos[torch]'")
    broken = EngineFact("openvino", installed=True, version="1", problem="libtbb.so is missing")
    report = doctor(local, engines=[missing, broken], measure=False, hubs=False)
    assert report.to_dict()["sections"]["engines"]["transformers"] == {"value": None, "why": "pip install 'llmos[torch]'"}
    assert "libtbb.so is missing" in whats(report) and "No engine is installed" in whats(report)
    assert "pip install 'llmos[torch]'" in [problem.fix for problem in report.problems]
    assert "No engine" not in whats(doctor(local, engines=[missing, GOOD], measure=False, hubs=False))


def test_home_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = doctor(Settings.from_env({"LLMOS_HOME": str(tmp_path / "file" / "home")}), measure=False, hubs=False)
    assert "cannot be written" in whats(report)


def test_damaged_database(local: Settings) -> None:
    local.home.mkdir()
    (local.home / "db.sqlite3").write_bytes(b"junk" * 1000)
    assert "not a database" in whats(doctor(local, measure=False, hubs=False))


def test_default_folders_are_real_paths() -> None:
    report = doctor(Settings.from_env({}), measure=False, hubs=False).to_dict()
    assert not report["sections"]["home"]["Hugging Face cache"]["value"].startswith("~")
