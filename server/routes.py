"""The table of routes, and the way from a request to a handler and back.

Handlers are plain functions that read disks and decode pictures, so each runs in a thread: ComfyUI's own loop is never
held up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from ..likeness.errors import LikenessError
from ..likeness.paths import is_slug
from . import actions, views
from .asked import Answer, Asked, Picture
from .backend import Backend
from .guard import Refused, body_of, check_origin

log = logging.getLogger(__name__)
Handler = Callable[[Backend, Asked], Answer]
_CLIENT = 64  # characters of a browser's id


@dataclass(frozen=True)
class Route:
    method: Literal["GET", "POST"]
    path: str
    handler: Handler

    @property
    def changes(self) -> bool:
        """Whether it writes; the doctor takes a long question, and only looks."""
        return self.method == "POST" and self.handler is not views.doctor_of_graph


_ONE = "/likeness/characters/{slug}"
ROUTES = (
    Route("GET", "/likeness/characters", views.characters),
    Route("GET", _ONE, views.character),
    Route("GET", f"{_ONE}/thumbnail", views.thumbnail),
    Route("GET", "/likeness/doctor", views.doctor),
    Route("GET", "/likeness/settings", views.settings),
    Route("POST", "/likeness/characters", actions.create),
    Route("POST", f"{_ONE}/references", actions.add),
    Route("POST", f"{_ONE}/remove_reference", actions.remove),
    Route("POST", f"{_ONE}/calibrate", actions.calibrate_one),
    Route("POST", f"{_ONE}/duplicate", actions.copy),
    Route("POST", f"{_ONE}/rename", actions.rename),
    Route("POST", f"{_ONE}/trash", actions.trash),
    Route("POST", f"{_ONE}/export", actions.export),
    Route("POST", f"{_ONE}/activate", actions.use_version),
    Route("POST", "/likeness/doctor", views.doctor_of_graph),
    Route("POST", "/likeness/import", actions.import_one),
    Route("POST", "/likeness/settings", actions.change),
)


def add_routes(table: web.RouteTableDef, backend: Backend) -> None:
    """Put every route into ComfyUI's table, which also serves it below /api."""
    looking, changing, drawing = (ThreadPoolExecutor(4, f"likeness-{what}") for what in ("look", "change", "draw"))
    for route in ROUTES:  # a change may wait long for a lock or a face model, and pictures are many; the list answers
        threads = changing if route.changes else drawing if route.handler is views.thumbnail else looking
        table.route(route.method, route.path)(_answering(route, backend, threads))


def _answering(
    route: Route, backend: Backend, threads: ThreadPoolExecutor
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            asked = await _asked(route, request)
            run = asyncio.get_running_loop().run_in_executor(threads, _run, route.handler, backend, asked)
            return _response(await run)
        except Refused as error:
            return _error(error.status, str(error))
        except LikenessError as error:
            return _error(409, str(error))
        except Exception:
            log.exception("%s %s failed.", route.method, route.path)
            return _error(500, "Likeness failed at this: ComfyUI's log says where.")

    return answer


async def _asked(route: Route, request: web.Request) -> Asked:
    check_origin(request.headers)
    body = await body_of(request) if route.method == "POST" else {}
    slug = request.match_info.get("slug", "")
    if "{slug}" in route.path and not is_slug(slug):
        raise Refused(404, "There is no such character.")
    client = body.pop("client_id", "")
    if not isinstance(client, str) or len(client) > _CLIENT:
        raise Refused(400, "client_id: write the id that ComfyUI gave the browser.")
    return Asked(slug, dict(request.query), body, request.headers.get("If-None-Match", ""), client)


def _run(handler: Handler, backend: Backend, asked: Asked) -> Answer:
    if asked.slug and not backend.library().exists(asked.slug):
        raise Refused(404, f"There is no character {asked.slug!r}.")
    return handler(backend, asked)


def _response(answer: Answer) -> web.StreamResponse:
    if not isinstance(answer, Picture):
        return web.json_response(answer, headers={"Cache-Control": "no-store"})
    headers = {
        "ETag": f'"{answer.tag}"',
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if not answer.data:
        return web.Response(status=304, headers=headers)
    return web.Response(body=answer.data, content_type="image/jpeg", headers=headers)


def _error(status: int, text: str) -> web.StreamResponse:
    """Nosniff, because a sentence may name a file as somebody else called it."""
    body: dict[str, Any] = {"error": text}
    return web.json_response(body, status=status, headers={"X-Content-Type-Options": "nosniff"})
