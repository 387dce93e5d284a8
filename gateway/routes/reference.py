"""The description of the whole API: as a document, and as pages whose every byte comes from here."""

from importlib.resources import files
from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from gateway.domain.documents import Reference
from libs.errors import NotFound

router = APIRouter(include_in_schema=False)

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
_START = """window.addEventListener("load", () => SwaggerUIBundle({
  url: "/api/v1/openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
}));
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Parley API</title>
<link rel="icon" href="/api/v1/docs/assets/favicon.png">
{head}
</head>
<body>
{body}
<noscript>This page needs JavaScript. The document is at <a href="/api/v1/openapi.json">openapi.json</a>.</noscript>
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="/api/v1/docs/assets/swagger-ui.css">',
    body='<div id="page"></div>\n<script src="/api/v1/docs/assets/swagger-ui-bundle.js"></script>\n'
    '<script src="/api/v1/docs/assets/start.js"></script>',
)
_REDOC = _PAGE.format(
    head="<style>body { margin: 0 }</style>",
    body='<redoc spec-url="/api/v1/openapi.json" hide-loading></redoc>\n'
    '<script src="/api/v1/docs/assets/redoc.standalone.js"></script>',
)
# Both interfaces put styles into their elements and pictures into their styles; ReDoc searches in a worker of its own.
_POLICY = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
}
_CACHED = {"Cache-Control": "public, max-age=3600"}


@router.get("/api/v1/openapi.json")
async def read_document(request: Request) -> JSONResponse:
    """All services' OpenAPI documents as one. `x-unavailable` lists services that could not be asked just now."""
    return JSONResponse(await cast(Reference, request.app.state.reference).document())


@router.get("/api/v1/docs")
@router.get("/swagger")
@router.get("/swagger/")
async def read_swagger() -> HTMLResponse:
    """Swagger UI for the whole API."""
    return HTMLResponse(_SWAGGER, headers=_POLICY)


@router.get("/api/v1/redoc")
async def read_redoc() -> HTMLResponse:
    """ReDoc for the whole API."""
    return HTMLResponse(_REDOC, headers=_POLICY)


@router.get("/api/v1/docs/assets/{name}")
async def read_asset(name: str) -> Response:
    """Scripts and styles of the pages, from an installed package: no page of ours loads anything from elsewhere."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers=_CACHED)
    if name not in _ASSETS:
        raise NotFound
    data = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(data, media_type=_ASSETS[name], headers=_CACHED)
