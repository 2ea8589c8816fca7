"""Lines that belong to a web page and not to its text: cookie notices, menus, buttons, counters."""

from __future__ import annotations

import re

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_NOTICES = (  # C4's policy lines and its "javascript" rule: Raffel et al. 2020, section 2.2, https://arxiv.org/abs/1910.10683
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies", "javascript",
    "cookie settings", "cookie preferences", "accept cookies", "accept all cookies", "all rights reserved",
    "版权所有", "隐私政策", "使用条款", "ICP备",
)  # fmt: skip
# RefinedWeb's line-wise corrections: Penedo et al. 2023, appendix G.2, https://arxiv.org/abs/2306.01116
_BUTTONS = (
    "sign in", "sign-in", "sign up", "sign-up", "log in", "log-in", "login", "register", "subscribe", "skip to content",
    "skip to main content", "share this", "share on", "follow us", "back to top", "click here", "登录", "注册", "关注我们", "返回顶部",
    "点击这里", "分享到",
)  # fmt: skip
_ENDS = (
    "read more",
    "read more...",
    "read more…",
    "show more",
    "learn more",
    "item in cart",
    "items in cart",
    "阅读全文",
    "查看更多",
)
_NUMBERS = r"(?m)^[ \t]*[\d.,:/ \t]*\d[\d.,:/ \t]*$\n?"
_COUNTERS = (
    r"(?im)^[ \t]*[\d.,]+[km]?\s?(?:likes?|shares?|comments?|views?|retweets?|followers?|replies|次浏览|人点赞|条评论)[ \t]*$\n?"
)
_MENU = r"(?m)^[ \t]*(?:[^|·»›>\n]{1,24}\s[|·»›>]\s){2,}[^|·»›>\n]{1,24}$\n?"


@step("strip_boilerplate")
class StripBoilerplate(Mapper):
    """Deletes lines that name cookies, policies or JavaScript (C4), that are only numbers, counters, a button or end in "read more"
    (RefinedWeb), and menus (three or more short entries between | · » ›). A line counts as a notice up to `max_notice_chars`."""

    class Config(TextConfig):
        max_notice_chars: int = Field(300, ge=1, le=1000, description="A longer line is a paragraph about the matter and stays.")
        menus: bool = Field(True, description="Delete lines that are a list of links.")
        counters: bool = Field(True, description="Delete lines that are only numbers, counters or buttons.")

    config: Config

    def prepare(self) -> None:
        most = self.config.max_notice_chars
        self._notice = rf"(?im)^[^\n]{{0,{most}}}{_any_of(_NOTICES)}[^\n]{{0,{most}}}$\n?"

    def map(self, rows: Rows) -> Mapped:
        texts = _without(rows.text(self.column), self._notice, _NOTICES)
        if self.config.counters:
            texts = _without(texts, rf"(?im)^[ \t]*{_any_of(_BUTTONS)}(?:[ \t:,][^.!?。！？\n]{{0,40}})?$\n?", _BUTTONS)
            texts = _without(texts, rf"(?im)^[^\n]{{0,60}}{_any_of(_ENDS)}[ \t]*$\n?", _ENDS)
            texts = texts.str.replace_all(_NUMBERS, "").str.replace_all(_COUNTERS, "")
        if self.config.menus:
            texts = texts.str.replace_all(_MENU, "")
        return Mapped(columns={self.column: texts})


def _any_of(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(re.escape(one) for one in words)})"


def _without(texts: pl.Series, pattern: str, words: tuple[str, ...]) -> pl.Series:
    """Without what matches, in the texts that have one of the words; no other text can match."""
    some = texts.str.contains_any(list(words), ascii_case_insensitive=True).arg_true()
    return texts.clone().scatter(some, texts.gather(some).str.replace_all(pattern, "")) if len(some) else texts
