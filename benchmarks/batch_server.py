"""One batch through `llmos serve` with the stock `openai` client: uploaded, created, waited for.

    python -m benchmarks.batch_server in.jsonl

Last line: JSON with the seconds from the creation to "completed" (engines are loaded in that time), and the tokens written.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from openai import OpenAI

from benchmarks.serving import serving

POLL_S = 0.5


def main() -> None:
    with serving() as (port, _), OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        source = client.files.create(file=Path(sys.argv[1]), purpose="batch")
        began = time.monotonic()
        batch = client.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
        while batch.status not in ("completed", "failed", "expired", "cancelled"):
            time.sleep(POLL_S)
            batch = client.batches.retrieve(batch.id)
        seconds = time.monotonic() - began
        assert batch.status == "completed" and batch.usage is not None and batch.output_file_id is not None, batch
        assert batch.error_file_id is None
    print(json.dumps({"seconds": round(seconds, 2), "written": batch.usage.output_tokens}))


if __name__ == "__main__":
    main()
