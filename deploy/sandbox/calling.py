"""The routes that say how a provider calls back."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox.callbacks import Callbacks, Manners


def routes(path: str, find: Callable[[Request], Callbacks]) -> Sequence[Route]:
    """PUT says where calls go and how, see `Manners`; GET says it back, with how many were made and refused."""

    async def change(request: Request) -> Response:
        find(request).manners = Manners.model_validate_json(await request.body())
        return await read(request)

    async def read(request: Request) -> Response:
        callbacks = find(request)
        counts = {"made": callbacks.made, "refused": callbacks.refused, "idle": callbacks.idle}
        return JSONResponse({**callbacks.manners.model_dump(), **counts})

    return [Route(path, change, methods=["PUT"]), Route(path, read, methods=["GET"])]
