"""A worker registers what its task names and no more; a step whose module has another name, as one of a plugin, is found all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = """
import sys
from llmos.data.base import steps
from llmos.data.builtins import load_some
load_some(sys.argv[1:])
print(len(steps), *(name in steps for name in sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("asked", "all_of_them"), [(["text_length", "minhash_dedup"], False), (["field_in"], True), (["no.such"], True)]
)
def test_steps_of_a_task(asked: list[str], all_of_them: bool) -> None:
    told = subprocess.run([sys.executable, "-c", SHOW, *asked], capture_output=True, text=True, check=True).stdout.split()
    assert (int(told[0]) > 50) == all_of_them
    assert told[1:] == [str(name != "no.such") for name in asked]
