"""A reverse proxy as it is usually written with FastAPI and httpx, bare or with four middlewares of policy."""

import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
import maxminddb
import redis.asyncio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

UPSTREAM = os.environ["PEER_UPSTREAM"]
POLICY = os.environ.get("PEER_POLICY") == "1"
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailers", "transfer-encoding", "upgrade", "host", "content-length"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=UPSTREAM, limits=limits, timeout=10) as client:
        app.state.client = client
        if POLICY:
            app.state.redis = redis.asyncio.from_url(os.environ["PEER_REDIS_URL"])
            app.state.countries = maxminddb.open_database(os.environ["PEER_COUNTRY_DATABASE"])
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


def caller(request: Request) -> str:
    return request.client.host if request.client else ""


class RequestId(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request_id = uuid.uuid4().hex
        request.state.request_id = request_id
        response = await call_next(request)
        response.headers["x-request-id"] = request_id
        return response


class Country(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        found = request.app.state.countries.get(caller(request))
        if found and found["country"]["iso_code"] in {"KP"}:
            return JSONResponse({"detail": "Not available in your country."}, status_code=403)
        return await call_next(request)


class Token(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, os.environ["PEER_JWT_SECRET"], algorithms=["HS256"], audience="peer")
        except jwt.PyJWTError:
            return JSONResponse({"detail": "Not authenticated."}, status_code=401)
        request.state.user = claims["sub"]
        if await request.app.state.redis.exists(f"revoked:{claims['jti']}"):
            return JSONResponse({"detail": "Not authenticated."}, status_code=401)
        return await call_next(request)


class RateLimit(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        window = int(time.time())
        async with request.app.state.redis.pipeline(transaction=False) as pipe:
            for name in (caller(request), request.state.user):
                pipe.incr(f"rate:{name}:{window}")
                pipe.expire(f"rate:{name}:{window}", 2)
            counts = await pipe.execute()
        if max(counts[0], counts[2]) > 10_000_000:
            return JSONResponse({"detail": "Too many requests."}, status_code=429, headers={"Retry-After": "1"})
        return await call_next(request)


if POLICY:
    for middleware in (RateLimit, Token, Country, RequestId):
        app.add_middleware(middleware)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(path: str, request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
    headers.append(("x-forwarded-for", caller(request)))
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    upstream = client.build_request(
        request.method,
        request.url.path,
        params=request.query_params,
        headers=headers,
        content=request.stream() if has_body else None,
    )
    answer = await client.send(upstream, stream=True)
    return StreamingResponse(
        answer.aiter_raw(),
        status_code=answer.status_code,
        headers={name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP - {"content-length"}},
        background=BackgroundTask(answer.aclose),
    )
