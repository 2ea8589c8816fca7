"""The three lines of the README, as they stand, against a hub that serves BERT and T5 under their real names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_three_lines(user_env: dict[str, str]) -> None:
    command = [sys.executable, str(ROOT / "examples/three_lines.py")]
    answer = subprocess.run(command, env=user_env, capture_output=True, text=True, check=False, timeout=280)
    assert answer.returncode == 0, answer.stderr
    assert "gpt-3" in answer.stderr and "smollm2-135m-instruct" in answer.stderr, "an alias says what it stands for"
    *generated, predicted, translated = answer.stdout.strip().splitlines()
    assert "".join(generated).strip()
    label, _, share = predicted.partition(" ")
    assert label in ("positive", "negative") and 0.5 <= float(share.strip("()")) <= 1
    assert translated.strip()


def test_the_readme_shows_the_same_lines() -> None:
    code = (ROOT / "examples/three_lines.py").read_text().partition("from llmos")[2]
    for page in ("README.md", "README.zh-CN.md"):
        text = (ROOT / page).read_text().replace("\n\nllmos = ", "\n\nllmos = ")
        assert "from llmos" + code in text, page


def test_without_a_hub_the_cause_and_the_local_alternatives_are_named(user_env: dict[str, str], tmp_path: Path) -> None:
    code = "from llmos import LLMOS, errors\ntry:\n    LLMOS().load_model('bert-base-uncased')\n"
    code += "except errors.Unreachable as error:\n    print(error.message, error.hint)"
    env = user_env | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "LLMOS_HOME": str(tmp_path / "home")}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert "bert-base-uncased" in answer.stdout and "all-minilm-l6-v2" in answer.stdout
