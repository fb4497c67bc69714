"""``/v1/models`` and ``/health``: what can be asked here, and whether it is worth trying."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from disrouter.gateway.asking import NETWORK_MODEL
from disrouter.gateway.errors import ProblemError, shown
from disrouter.utility import SCENARIOS

if TYPE_CHECKING:
    from disrouter.gateway.app import Gateway

__all__ = ["health_routes", "model_routes"]


def model_routes(gateway: Gateway) -> list[Route]:
    """Return the routes that list the models: the network, the network in a scenario, every agent by itself."""
    created = int(time.time())

    def models() -> dict[str, dict[str, Any]]:
        names = [NETWORK_MODEL, *(f"{NETWORK_MODEL}/{name}" for name in SCENARIOS), *gateway.service.guards]
        return {name: {"id": name, "object": "model", "created": created, "owned_by": "disrouter"} for name in names}

    async def listed(request: Request) -> Response:
        _require_key(gateway, request)
        return JSONResponse({"object": "list", "data": list(models().values())})

    async def one(request: Request) -> Response:
        _require_key(gateway, request)
        name = request.path_params["name"]
        found = models().get(name)
        if found is None:
            raise ProblemError(404, f"The model {shown(name)} does not exist.", code="model_not_found", param="model")
        return JSONResponse(found)

    return [
        Route("/v1/models", listed, methods=["GET"]),
        Route("/v1/models/{name:path}", one, methods=["GET"]),
    ]


def health_routes(gateway: Gateway) -> list[Route]:
    """Return the routes for whoever starts and watches the gateway; they need no key and name no agent."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        if gateway.ready:
            return JSONResponse({"status": "ready"})
        loading = "models are being loaded" if gateway.loading else "no agent can be asked"
        status = "draining" if gateway.draining else loading
        return JSONResponse({"status": status}, status_code=503, headers={"retry-after": "1"})

    return [
        Route("/health", ready, methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
    ]


def _require_key(gateway: Gateway, request: Request) -> None:
    gateway.access.look(request.headers.get("authorization"))
