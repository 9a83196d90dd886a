"""Put into custom_nodes as one file: tells at /packaging_test whether ComfyUI accepts a graph, without running it."""

from __future__ import annotations

import execution
from aiohttp import web

from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}


@PromptServer.instance.routes.post("/packaging_test")
async def accepts(request: web.Request) -> web.Response:
    valid, error, _, of_nodes = await execution.validate_prompt("0", await request.json(), None)
    problems = {node: found["errors"] for node, found in of_nodes.items()}
    return web.json_response({"valid": valid, "problems": [error, problems] if not valid else []})
