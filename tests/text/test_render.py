"""Chat templates: the same text as transformers renders, and no harm from hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.errors import InvalidValue, LLMOSError, ModelFileError
from llmos.text.load import load_chat_template
from llmos.text.render import JinjaTemplate
from llmos.types import Message, Tool, ToolCall
from tests.text.hostile_templates import BOMBS, ESCAPES

USER = Message(role="user", content="What is <b>&</b> 'it'?")
CHAT = [Message(role="system", content="Be brief."), USER, Message(role="assistant", content=" Nothing.\n"), USER]
TOOL = Tool(
    name="weather", description="Gets the weather", parameters={"type": "object", "properties": {"città": {"type": "string"}}}
)
CALLED = [
    USER,
    Message(role="assistant", tool_calls=(ToolCall(id="call_1", name="weather", arguments='{"città": "Roma"}'),)),
    Message(role="tool", content="sunny", tool_call_id="call_1", name="weather"),
]


def _plain(messages: list[Message]) -> list[dict[str, object]]:
    """Messages as transformers takes them."""
    out: list[dict[str, object]] = []
    for message in messages:
        shown: dict[str, object] = {"role": message.role, "content": message.content}
        if message.name:
            shown["name"] = message.name
        if message.tool_call_id:
            shown["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            shown["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.loads(c.arguments)}}
                for c in message.tool_calls
            ]
        out.append(shown)
    return out


@pytest.mark.parametrize("messages", [[USER], CHAT, CALLED], ids=["one", "chat", "tools"])
@pytest.mark.parametrize("name", ["smollm2", "qwen"])
def test_same_text_as_transformers(asset: Callable[[str], Path], name: str, messages: list[Message]) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    template = load_chat_template(asset(name))
    assert template is not None
    tools = (TOOL,) if template.supports_tools else ()
    schema = [{"type": "function", "function": {"name": TOOL.name, "description": TOOL.description, "parameters": TOOL.parameters}}]
    expected, _ = utils.render_jinja_template(
        [_plain(messages)], tools=schema if tools else None, chat_template=template.source, add_generation_prompt=True
    )
    assert template.render(messages, tools=tools) == expected[0]


def test_what_templates_support(asset: Callable[[str], Path]) -> None:
    smol, qwen = load_chat_template(asset("smollm2")), load_chat_template(asset("qwen"))
    assert smol is not None and qwen is not None
    assert (smol.supports_tools, qwen.supports_tools) == (False, True)
    gemma = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ messages[0].content }}"
    with pytest.raises(InvalidValue, match="System role not supported") as caught:
        JinjaTemplate(gemma).render(CHAT)
    assert caught.value.param == "messages"


@pytest.mark.parametrize("trim", ["", "|trim"])
def test_continues_the_last_message(trim: str) -> None:
    template = JinjaTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content" + trim + " }}</s>{% endfor %}")
    text = template.render([USER, Message(role="assistant", content="The answer ")], continue_final=True)
    assert text.endswith("<assistant>The answer " if not trim else "<assistant>The answer")
    with pytest.raises(InvalidValue, match="only one from 'assistant'"):
        template.render([USER], continue_final=True)


def test_variables() -> None:
    template = JinjaTemplate("{{ bos_token }}{{ mode }}{{ tools is none }}", tool_source="T", tokens={"bos_token": "<s>"})
    assert template.render([USER], extra={"mode": "deep"}) == "<s>deepTrue"
    assert template.render([USER], tools=[TOOL]) == "T"
    with pytest.raises(InvalidValue, match="bos_token, messages cannot be set"):
        template.render([USER], extra={"messages": [], "bos_token": ""})
    developer = Message(role="developer", content="x")
    assert JinjaTemplate("{{ messages[0].role }}").render([developer]) == "system"
    assert JinjaTemplate("{# developer #}{{ messages[0].role }}").render([developer]) == "developer"


def test_training_tags_and_loop_controls() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    assert JinjaTemplate(source).render(CHAT) == "Be brief."


@pytest.mark.parametrize("source", ESCAPES)
def test_no_escape(source: str) -> None:
    template = JinjaTemplate(source)
    try:
        text = template.render([Message(role="user", content="SAFE")])
    except LLMOSError as refusal:
        assert isinstance(refusal, InvalidValue | ModelFileError)
        return
    finally:
        template.close()
    for leaked in ("<class", "root:", "uid=", "PATH", "environ", "<module", "<built-in"):
        assert leaked not in text


@pytest.mark.parametrize("source", BOMBS, ids=[source[:40] for source in BOMBS])
def test_no_bomb(source: str) -> None:
    """Each ends as an error, and the same template object works on: its child is started again."""
    template = JinjaTemplate(source, tool_source="fine")
    with pytest.raises(ModelFileError):
        template.render([USER])
    assert template.render([USER], tools=[TOOL]) == "fine"
    template.close()
