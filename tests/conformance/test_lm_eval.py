"""lm-evaluation-harness, unmodified, against the live server: `local-completions` with the server's own tokeniser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import CHAT, KEY
from tests.server.live import Live

TASKS = Path(__file__).parent / "lm_eval_task"


def test_local_completions(real: Live, tmp_path: Path) -> None:
    shutil.copytree(TASKS, tmp_path / "tasks")
    arguments = {
        "model": CHAT,
        "base_url": f"{real.url}/v1/completions",
        "tokenizer_backend": "remote",
        "auth_token": KEY,
        "num_concurrent": 2,
        "max_retries": 1,
        "max_length": 512,
    }
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "local-completions", "--batch_size", "4",
        "--model_args", ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--include_path", str(tmp_path / "tasks"), "--tasks", "llmos_sequences,llmos_continue",
        "--output_path", str(tmp_path / "out"), "--log_samples",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        command, cwd=tmp_path / "tasks", env=environment, timeout=280, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(found.read_text())["results"]
    assert results["llmos_sequences"]["acc,none"] >= 0.75, results  # chance is 0.25
    assert results["llmos_continue"]["exact_match,stripped"] >= 0.5, results
    [samples] = (tmp_path / "out").rglob("samples_llmos_sequences_*.jsonl")
    for line in samples.read_text().splitlines()[:3]:
        check_sample(real, json.loads(line))


def check_sample(real: Live, sample: dict[str, Any]) -> None:
    """What the harness read out of `echo` is what the model gives: the sums of /v1/score, up to the rounding of 4-bit kernels."""
    body = {"model": CHAT, "prompt": sample["doc"]["text"], "continuations": [" " + one for one in sample["doc"]["choices"]]}
    answer = real.client.post("/v1/score", json=body, headers={"authorization": f"Bearer {KEY}"}).json()
    assert [float(one[0][0]) for one in sample["resps"]] == pytest.approx([one["logprob"] for one in answer["data"]], abs=0.4)
