"""The folders of jobs on this machine: LLMOS_HOME/jobs/<id>, made by the job's first attempt, removed with the job."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmos.infra.files import fsync_dir, storage_errors


def remove_folder(folder: Path) -> None:
    """With all that is in it. Nothing when it is not there. Renamed first, so that what is left after a kill has no job's name."""
    gone = folder.with_name(f".{folder.name}.removed")
    with storage_errors(folder):
        if folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            fsync_dir(folder.parent)
        if gone.exists():
            shutil.rmtree(gone)
