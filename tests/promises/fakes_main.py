"""A whole server over the engines of tests/doubles.py, as a process: `python -m tests.promises.fakes_main '{"limits": {"slots": 4}}'`.

Settings come from the environment. Models beside those of the doubles:

    fake-steady     0.02 s a token, as long as it may: a service of known length
    fake-torrent    1,000 tokens/s without end, for clients that do not read
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llmos.server.app import create_app
from llmos.server.limits import Limits
from llmos.server.serve import make_server
from llmos.settings import Settings
from tests.doubles import fake_card, fake_cards, fake_pool

STEP_S = 0.02


def main(limits: Limits, *, inline: bool) -> None:
    settings = Settings.from_env()
    cards = [
        *fake_cards(),
        fake_card("fake-steady", extra={"step_s": str(STEP_S), "endless": "yes"}),
        fake_card("fake-torrent", extra={"step_s": "0.001", "endless": "yes"}, context_length=2_000_000),
    ]
    pool = fake_pool(settings, Path(settings.home), cards=cards, inline=inline)
    app = create_app(settings, pool, limits=limits)
    make_server(app, settings, limits=limits).run()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    main(Limits(**asked.get("limits", {})), inline=asked.get("inline", False))
