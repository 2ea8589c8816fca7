"""What the routes share: settings, pool, library, limits and counters of one app. Made by create_app, closed by its lifespan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.access.service import Access
from llmos.infra.database import Database
from llmos.infra.uploads import Uploads
from llmos.kernel.jobs import Jobs
from llmos.server.limits import Admission, Limits
from llmos.server.metrics import Metrics
from llmos.server.recent import Recent
from llmos.server.watch import Watcher
from llmos.settings import Settings

if TYPE_CHECKING:
    from llmos.engine.pool import Pool
    from llmos.library.library import Library


@dataclass(slots=True, kw_only=True)
class State:
    """`draining` is set by the first SIGTERM: readiness turns false at once, running work goes on."""

    settings: Settings
    pool: Pool
    library: Library
    limits: Limits
    admission: Admission
    metrics: Metrics
    database: Database
    access: Access
    jobs: Jobs
    watcher: Watcher
    recent: Recent
    uploads: Uploads
    started_at: int = field(default_factory=lambda: int(time.time()))
    ready: bool = False
    draining: bool = False
