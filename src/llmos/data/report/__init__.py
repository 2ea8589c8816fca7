"""The report of a dataset version: `facts` are its figures as plain data, `page` is one HTML file that shows them."""

from __future__ import annotations

from llmos.data.report.facts import facts
from llmos.data.report.page import CSP, page

__all__ = ["CSP", "facts", "page"]
