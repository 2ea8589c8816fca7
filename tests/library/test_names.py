"""What may be written where a model is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import InvalidValue
from llmos.library.names import Reference, checked_name, default_name, parse, relative_path, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-3", Reference(scheme="", place="gpt-3")),
        ("smollm2:b179c9523d0e", Reference(scheme="", place="smollm2", revision="b179c9523d0e")),
        ("smollm2:latest", Reference(scheme="", place="smollm2")),
        ("google-bert/bert-base-uncased", Reference(scheme="", place="google-bert/bert-base-uncased")),
        ("hf:google-t5/t5-base", Reference(scheme="hf", place="google-t5/t5-base")),
        ("hf:a/b@refs/pr/1", Reference(scheme="hf", place="a/b", revision="refs/pr/1")),
        ("hf:a/b@main:x/y.gguf", Reference(scheme="hf", place="a/b", revision="main", path="x/y.gguf")),
        ("hf:gpt2", Reference(scheme="hf", place="gpt2")),
        ("ms:Qwen/Qwen3-0.6B", Reference(scheme="ms", place="Qwen/Qwen3-0.6B")),
        ("pypi:pkg==1.0/pkg/m.gguf", Reference(scheme="pypi", place="pkg", revision="1.0", path="pkg/m.gguf")),
        ("pypi:pkg==1.0/pkg/model/", Reference(scheme="pypi", place="pkg", revision="1.0", path="pkg/model/")),
        ("file:/models/x", Reference(scheme="file", place="/models/x")),
        ("file:///models/x%20y", Reference(scheme="file", place="/models/x y")),
        ("//models/x", Reference(scheme="file", place="/models/x")),
        ("file:////models/x", Reference(scheme="file", place="/models/x")),
        ("/models/x.gguf", Reference(scheme="file", place="/models/x.gguf")),
        ("./x", Reference(scheme="file", place="./x")),
        ("ollama:qwen3:0.6b", Reference(scheme="ollama", place="qwen3", revision="0.6b")),
        ("ollama:qwen3", Reference(scheme="ollama", place="qwen3", revision="latest")),
        ("remote:gpt-4o", Reference(scheme="remote", place="gpt-4o")),
        ("https://h.org/a/m.gguf", Reference(scheme="url", place="https://h.org/a/m.gguf", path="m.gguf")),
        (
            "https://h.org/m.gguf#sha256=" + "a" * 64,
            Reference(scheme="url", place="https://h.org/m.gguf", revision="a" * 64, path="m.gguf"),
        ),
    ],
)
def test_parse(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "..",
        "a/../b",
        "a b",
        "a:xyz",
        "a:..",
        "hf:",
        "hf:a/b/c",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b:../../etc/passwd",
        "hf:a/b:/etc/passwd",
        "pypi:pkg",
        "pypi:pkg==1.0/../x",
        "file:",
        "file:///a%20",
        "file:///a%0Ab",
        "file://[::1/a",
        "https://[::1/a",
        "ollama:",
        "ollama:a:../x",
        "remote:",
        "https://h.org/",
        "https://h.org/x#sha256=zz",
        "x\ny",
        "x\u202ey",
        "a" * 201,
        "a/b/c/d",
        "-x",
    ],
)
def test_bad_names_say_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"hf:org/repo|relative path") as caught:
        parse(text)
    assert caught.value.param in ("model", "path")


@pytest.mark.parametrize("text", ["hf:a/b@r1:x.gguf", "smollm2:abcdef", "pypi:p==1/x/", "ollama:q:t", "remote:x"])
def test_text_form_is_read_back(text: str) -> None:
    assert str(parse(text)) == text


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidValue:
        return
    assert reference.place


@given(st.text(alphabet="ab./\\:\0", max_size=20))
def test_relative_path_never_leaves_its_folder(text: str) -> None:
    try:
        path = relative_path(text)
    except InvalidValue:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert not set(path) & set("\\:\0")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:Org/Repo", "Org/Repo"),
        ("hf:Org/Repo:Model-Q4_K_M.gguf", "Org/Repo/model-q4_k_m"),
        ("hf:Org/Repo:big-00001-of-00003.gguf", "Org/Repo/big"),
        ("pypi:my-pkg==1/x/Model.gguf", "model"),
        ("pypi:My_Pkg==1/x/", "my_pkg"),
        ("file:/a/b/My Model (v2)", "my-model-v2"),
        ("file:/a/b/SmolLM2.Q4_1.gguf", "smollm2.q4_1"),
        ("ollama:qwen3:0.6b", "qwen3-0.6b"),
        ("ollama:llama3.2", "llama3.2"),
        ("https://h.org/Model.Q8_0.gguf?x=1", "model.q8_0"),
    ],
)
def test_default_name_can_be_used_again(text: str, name: str) -> None:
    assert default_name(parse(text)) == name
    assert checked_name(name) == name


def test_pieces_are_numbered() -> None:
    reference = Reference(scheme="pypi", place="p{n}", revision="1", path="d{n}/x{nn}.y{mm}", parts=12)
    assert str(reference.piece(3)) == "pypi:p3==1/d3/x03.y02"


@pytest.mark.parametrize("name", ["hf:a/b", "a:abcdef", " a", "/x", ""])
def test_names_of_models_and_aliases(name: str) -> None:
    with pytest.raises(InvalidValue):
        checked_name(name)


def test_a_slug_needs_something() -> None:
    with pytest.raises(InvalidValue, match="--name"):
        slug("模型")
