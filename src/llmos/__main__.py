"""`python -m llmos` is the `llmos` command."""

from __future__ import annotations

from llmos.cli.main import main

main()
