"""What servers tell over their web sockets, while it happens.

By aiohttp, ComfyUI's own server library, so it is there wherever ComfyUI's Python runs the command. Without it nothing
is told, and the pool asks for what it needs to know.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

RECONNECT = 1.0  # seconds between two tries
_HEARTBEAT = 20.0  # seconds
_MAX_MESSAGE = 64 << 20  # bytes; previews come over the same socket

Kind = Literal["connected", "lost", "started", "progress", "ended"]


@dataclass(frozen=True)
class Told:
    """One message of a server."""

    server: str
    kind: Kind
    prompt_id: str = ""
    value: float = 0.0  # steps done, for "progress"
    most: float = 0.0  # steps in all


def has_sockets() -> bool:
    """Whether progress can be heard at all."""
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        return False
    return True


class Listener:
    """Listens to several servers in one thread; `tell` is called in it."""

    def __init__(self, servers: Iterable[str], client_id: str, tell: Callable[[Told], None]) -> None:
        self._servers, self._client_id, self._tell = tuple(servers), client_id, tell
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._all: asyncio.Task[None] | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Nothing happens where aiohttp is not installed."""
        if has_sockets():
            self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="progress", daemon=True)
            self._thread.start()
            self._ready.wait(5.0)

    def stop(self) -> None:
        if self._thread and self._loop and self._all:
            self._loop.call_soon_threadsafe(self._all.cancel)
            self._thread.join(5.0)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._all = asyncio.ensure_future(self._hear_all())
        self._ready.set()
        await asyncio.wait([self._all])

    async def _hear_all(self) -> None:
        await asyncio.gather(*(self._hear(server) for server in self._servers))

    async def _hear(self, server: str) -> None:
        """One server, again and again."""
        import aiohttp

        address = f"ws{server.removeprefix('http')}/ws?clientId={self._client_id}"
        patience = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
        async with aiohttp.ClientSession(timeout=patience, trust_env=True) as session:
            while True:
                try:
                    async with session.ws_connect(address, heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE) as socket:
                        self._tell(Told(server, "connected"))
                        async for message in socket:
                            if message.type == aiohttp.WSMsgType.TEXT and (told := understood(server, message.data)):
                                self._tell(told)
                except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError):
                    pass  # tried again; the pool notices by itself whether the server is there
                self._tell(Told(server, "lost"))
                await asyncio.sleep(RECONNECT)


def understood(server: str, text: str) -> Told | None:
    """What a message says about a prompt; None for all others."""
    try:
        message = json.loads(text)
        kind, about = message["type"], message["data"]
        prompt_id = str(about["prompt_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if kind == "execution_start":
        return Told(server, "started", prompt_id)
    if kind == "executing" and about.get("node") is None:  # sent when history has it; execution_success comes before
        return Told(server, "ended", prompt_id)
    if kind == "progress":
        return _steps(server, prompt_id, about)
    return None


def _steps(server: str, prompt_id: str, about: dict[str, Any]) -> Told | None:
    value, most = about.get("value"), about.get("max")
    if not isinstance(value, (int, float)) or not isinstance(most, (int, float)):
        return None
    if not (0 < most < 1e9 and 0 <= value < 1e9):
        return None
    return Told(server, "progress", prompt_id, float(value), float(most))
