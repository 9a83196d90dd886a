"""A server that pretends to be ComfyUI, in a thread: it queues, "draws", and misbehaves as it is told.

`fake.draws` counts what was really run; a picture's bytes are a digest of its graph and metadata.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

Graph = dict[str, dict[str, Any]]
Reply = Callable[[web.Request], web.Response | None]
KSAMPLER = {
    "model": ["MODEL"],
    "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
    "steps": ["INT", {"min": 1, "max": 10000}],
    "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
    "sampler_name": [["euler", "dpmpp_2m", "heun"]],
    "scheduler": ["COMBO", {"options": ["karras", "simple"]}],
    "text": ["STRING", {}],
}
INFO: dict[str, Any] = {
    "CheckpointLoaderSimple": {
        "input": {"required": {"ckpt_name": [["a.safetensors", "b.safetensors"]]}},
        "output": ["MODEL", "CLIP", "VAE"],
    },
    "KSampler": {"input": {"required": KSAMPLER}, "output": ["IMAGE"]},
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
        "output": [],
        "output_node": True,
    },
}


def graph(seed: int = 1, text: str = "a park", **sampler: Any) -> Graph:
    """One that the pretended server takes."""
    values = {"seed": seed, "steps": 4, "cfg": 7.0, "sampler_name": "euler", "scheduler": "karras", "text": text}
    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0], **values, **sampler}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    return nodes


def png(text: str) -> bytes:
    """A whole picture, 8 x 8 px, in the colour of the text's digest, and the text in it."""
    colour = hashlib.sha256(text.encode()).digest()[:3]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)), chunk(b"tEXt", b"about\0" + text.encode())]
    parts += [chunk(b"IDAT", zlib.compress((b"\0" + colour * 8) * 8)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class PretendedComfy:
    """Start it with `start`; the attributes may be changed while it runs."""

    def __init__(self, seconds: float = 0.0, sockets: bool = True, port: int = 0) -> None:
        self.seconds, self.sockets, self.port = seconds, sockets, port
        self.lag = 0.0  # seconds before any answer
        self.hold = False  # nothing is run meanwhile
        self.reply: Reply = lambda request: None  # another answer than the usual one
        self.fails: Callable[[Graph], str] = lambda graph: ""  # why a graph fails while it runs
        self.refuses: Callable[[Graph], str] = lambda graph: ""  # why it is not taken
        self.picture: Callable[[Graph, str], bytes] = lambda graph, about: png(about)
        self.shows: dict[str, str] = {}  # title of a PreviewAny -> its text
        self.name_of: Callable[[Graph, str], str] = lambda graph, about: (
            f"{hashlib.sha256(about.encode()).hexdigest()[:12]}.png"
        )
        self.error_type = "RuntimeError"
        self.info: dict[str, Any] = INFO
        self.drawn: Counter[str] = Counter()  # texts of the graphs that were run to their end
        self.asked: Counter[str] = Counter()  # paths
        self.cancelled: list[str] = []
        self.interrupted: list[str] = []
        self.freed = 0
        self._forget()

    def _forget(self) -> None:
        self.pending: list[tuple[int, str, Graph, dict[str, Any], str]] = []
        self.running: tuple[int, str, Graph, dict[str, Any], str] | None = None
        self.history: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._number, self._stop_it = 0, False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- life

    def start(self) -> PretendedComfy:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        """Its port is closed, and everything that it knew is forgotten; what it saved stays on its disk."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)
        files = self.files
        self._forget()
        self.files = files

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(middlewares=[self._misbehave], client_max_size=1 << 28)
        app.router.add_post("/prompt", self._prompt)
        app.router.add_get("/queue", self._get_queue)
        app.router.add_post("/queue", self._post_queue)
        app.router.add_post("/interrupt", self._interrupt)
        app.router.add_post("/free", self._free)
        app.router.add_get("/history/{id}", self._history)
        app.router.add_get("/view", self._view)
        app.router.add_get("/object_info", self._object_info)
        app.router.add_get("/ws", self._socket)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        worker = asyncio.ensure_future(self._work())
        ready.set()
        await self._end.wait()
        worker.cancel()
        for socket in list(self._sockets.values()):
            await socket.close()
        await site.stop()
        await asyncio.sleep(0.02)  # for a connection that has just been accepted
        await runner.cleanup()

    # ---- drawing

    async def _work(self) -> None:
        while True:
            if self.hold or not self.pending:
                await asyncio.sleep(0.001)
                continue
            self.running = self.pending.pop(0)
            _, prompt_id, nodes, extra, client = self.running
            await self._tell(client, "execution_start", {"prompt_id": prompt_id})
            failure = await self._run(nodes, prompt_id, client)
            self.history[prompt_id] = self._entry(nodes, extra, failure)
            self.running = None
            await self._tell(client, "executing", {"node": None, "prompt_id": prompt_id})

    async def _run(self, nodes: Graph, prompt_id: str, client: str) -> list[Any] | None:
        end, self._stop_it = time.monotonic() + self.seconds, False
        while time.monotonic() < end and not self._stop_it:
            await self._tell(client, "progress", {"prompt_id": prompt_id, "value": 1, "max": 4, "node": "2"})
            await asyncio.sleep(min(0.01, self.seconds))
        if self._stop_it:
            return ["execution_interrupted", {"prompt_id": prompt_id}]
        if reason := self.fails(nodes):
            about = {"node_type": "KSampler", "exception_message": reason, "exception_type": self.error_type}
            return ["execution_error", about]
        return None

    def _entry(self, nodes: Graph, extra: dict[str, Any], failure: list[Any] | None) -> dict[str, Any]:
        if failure:
            return {"status": {"status_str": "error", "completed": False, "messages": [failure]}, "outputs": {}}
        about = json.dumps([nodes, extra.get("extra_pnginfo")], sort_keys=True)
        self.drawn[str(nodes.get("2", {}).get("inputs", {}).get("text", about))] += 1
        name = self.name_of(nodes, about)
        self.files[name] = self.picture(nodes, about)
        outputs: dict[str, Any] = {
            node_id: {"text": [self.shows.get(node["_meta"]["title"], "")]}
            for node_id, node in nodes.items()
            if node["class_type"] == "PreviewAny"
        }
        image = {"filename": name, "subfolder": "", "type": "output"}
        status = {"status_str": "success", "completed": True, "messages": []}
        return {"status": status, "outputs": {**outputs, "3": {"images": [image]}}}

    async def _tell(self, client: str, kind: str, about: dict[str, Any]) -> None:
        socket = self._sockets.get(client)
        if socket is not None and not socket.closed:
            try:
                await socket.send_json({"type": kind, "data": about})
            except ConnectionError:
                self._sockets.pop(client, None)

    # ---- answering

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path.split("/")[1]] += 1
        if self.lag:
            await asyncio.sleep(self.lag)
        return self.reply(request) or await handler(request)

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        nodes = body["prompt"]
        if reason := self.refuses(nodes):
            told = {"2": {"errors": [{"message": "Value not in list", "details": reason}]}}
            error = {"message": "Prompt outputs failed validation"}
            return web.json_response({"error": error, "node_errors": told}, status=400)
        self._number += 1
        row = (self._number, body["prompt_id"], nodes, body.get("extra_data", {}), body.get("client_id", ""))
        self.pending.append(row)
        return web.json_response({"prompt_id": row[1], "number": row[0], "node_errors": {}})

    async def _get_queue(self, request: web.Request) -> web.Response:
        running = [list(self.running)] if self.running else []
        return web.json_response({"queue_running": running, "queue_pending": [list(r) for r in self.pending]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        ids = (await request.json())["delete"]
        self.cancelled += [row[1] for row in self.pending if row[1] in ids]
        self.pending = [row for row in self.pending if row[1] not in ids]
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        if self.running and self.running[1] == prompt_id:
            self.interrupted.append(prompt_id)
            self._stop_it = True
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        self.freed += 1
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        found = self.history.get(request.match_info["id"])
        return web.json_response({request.match_info["id"]: found} if found else {})

    async def _view(self, request: web.Request) -> web.Response:
        data = self.files.get(request.query["filename"])
        return web.Response(body=data) if data else web.Response(status=404)

    async def _object_info(self, request: web.Request) -> web.Response:
        return web.json_response(self.info)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self.sockets:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId", "")
        self._sockets[client] = socket
        await socket.send_json({"type": "status", "data": {"sid": client}})
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
        return socket
