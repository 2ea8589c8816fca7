"""Duplicates by URL."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import step
from llmos.data.steps.exact_dedup import ExactDedup

_TRACKING = r"(?:utm_[a-z]+|fbclid|gclid|msclkid|mc_cid|mc_eid|igshid|ref_src)"


@step("url_dedup")
class URLDedup(ExactDedup):
    """Keeps one row per URL. URLs that lead to the same page are equal: scheme, `www.`, fragment, a slash at the end and parameters that
    only track visitors make no difference (RFC 3986, section 6, and common practice of web crawls)."""

    class Config(ExactDedup.Config):
        column: str = Field("url", description="The column of URLs.")

    config: Config

    def compared(self, text: pl.Series) -> pl.Series:
        url = text.str.strip_chars().str.replace(r"#.*$", "").str.replace(r"^(?i:https?)://", "").str.replace(r"^(?i:www)\.", "")
        host = url.str.extract(r"^([^/?]*)").fill_null("").str.to_lowercase()
        url = host + url.str.replace(r"^[^/?]*", "")
        url = url.str.replace_all(rf"([?&]){_TRACKING}=[^&]*", "$1").str.replace_all(r"&{2,}", "&").str.replace_all(r"\?&+", "?")
        return url.str.replace(r"[?&]+$", "").str.replace(r":(?:80|443)(/|$)", "$1").str.replace(r"/$", "")
