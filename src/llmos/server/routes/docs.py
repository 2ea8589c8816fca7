"""GET /docs: the routes and their fields, readable in a browser. Three files of the package, nothing from elsewhere.

Behind the key like all the rest; the page draws itself from /openapi.json.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.responses import Response

from llmos.access.base import Scope
from llmos.server.scopes import ScopedRouter

router = ScopedRouter(Scope.INFERENCE, prefix="/docs", include_in_schema=False)
_TYPES = {
    "docs.html": "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}


def _file(name: str) -> Response:
    data = (files("llmos.server") / "static" / name).read_bytes()
    return Response(data, media_type=_TYPES[name])


@router.get("", response_model=None)
async def page() -> Response:
    return _file("docs.html")


@router.get("/docs.css", response_model=None)
async def style() -> Response:
    return _file("docs.css")


@router.get("/docs.js", response_model=None)
async def script() -> Response:
    return _file("docs.js")
