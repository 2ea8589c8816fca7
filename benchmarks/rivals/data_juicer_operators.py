"""Data-Juicer 1.6.1, one operator at a time: which documents each keeps, or what it makes of their texts.

Run by path inside its own environment (requirements-data-juicer.txt); nothing of LLMOS is imported:

    ENV/bin/python benchmarks/rivals/data_juicer_operators.py DOCUMENTS.jsonl CASES.json RESULT.json

DOCUMENTS: {"uid", "text", …} a line. CASES: [[operator, {arguments}], …]. RESULT: for each case {"kept": [uid, …]} or, of a mapper,
{"texts": {uid: text}}; {"error"} where the operator fails.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    documents, cases, result = map(Path, sys.argv[1:])
    os.environ["HF_HUB_OFFLINE"] = "1"
    from data_juicer.core.data import NestedDataset  # type: ignore[import-not-found]
    from data_juicer.ops import load_ops  # type: ignore[import-not-found]

    rows = [json.loads(line) for line in documents.open(encoding="utf-8")]
    found: list[dict[str, Any]] = []
    for name, arguments in json.loads(cases.read_text()):
        try:
            made = NestedDataset.from_list(rows).process(load_ops([{name: {**arguments, "num_proc": 1}}]))
            is_mapper = name.endswith("_mapper")
            found.append({"texts": dict(zip(made["uid"], made["text"]))} if is_mapper else {"kept": list(made["uid"])})  # noqa: B905
        except Exception as problem:  # noqa: BLE001 - it is part of what is compared
            found.append({"error": f"{type(problem).__name__}: {problem}"[:300]})
        print(name, arguments, flush=True)
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
