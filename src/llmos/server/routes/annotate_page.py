"""GET /annotate: a plain page to annotate with. Three files of the package, the same for everybody, nothing from elsewhere.

They are open, as a browser that opens an address has no key to send; the page asks its user for the key where the server wants one, and
sends it with everything that shows or changes data.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.responses import Response

from llmos.server.scopes import ScopedRouter

router = ScopedRouter(None, prefix="/annotate", include_in_schema=False)
_TYPES = {
    "annotate.html": "text/html; charset=utf-8",
    "annotate.css": "text/css; charset=utf-8",
    "annotate.js": "text/javascript; charset=utf-8",
}


def _file(name: str) -> Response:
    data = (files("llmos.server") / "static" / name).read_bytes()
    return Response(data, media_type=_TYPES[name])


@router.get("", response_model=None)
async def page() -> Response:
    return _file("annotate.html")


@router.get("/annotate.css", response_model=None)
async def style() -> Response:
    return _file("annotate.css")


@router.get("/annotate.js", response_model=None)
async def script() -> Response:
    return _file("annotate.js")
