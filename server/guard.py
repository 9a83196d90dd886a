"""Which requests are answered. ComfyUI has no login, so any page that a user has open may try.

A browser says where a request comes from in `Sec-Fetch-Site`; other programs leave it out. A form of another page can
send neither JSON nor a header of ours, and ComfyUI's answer to a preflight does not allow the header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

MAX_BODY = 64 * 1024  # bytes
HEADER = "X-Likeness"
_SITES = ("same-origin", "none", "")


class Refused(Exception):
    """A request that is not answered. `status` is HTTP's, the text one sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def check_origin(headers: Mapping[str, str]) -> None:
    """403 for a request that a page of another site has sent."""
    if headers.get("Sec-Fetch-Site", "") not in _SITES or headers.get("Origin") == "null":
        raise Refused(403, "This request comes from another site: open the panel in ComfyUI itself.")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request that changes something. 403, 413, 415 or 400 for any other."""
    check_origin(request.headers)
    if request.headers.get("Content-Type", "") != "application/json":
        raise Refused(415, "Send JSON: Content-Type must be application/json.")
    if request.headers.get(HEADER) != "1":
        raise Refused(403, f"Send the header {HEADER}: 1, which only programs set.")
    return _parsed(await _read(request))


async def _read(request: web.Request) -> bytes:
    """Never more than `MAX_BODY` bytes in memory, whatever length the request claims."""
    found = bytearray()
    async for chunk in request.content.iter_chunked(16 * 1024):
        found += chunk
        if len(found) > MAX_BODY:
            raise Refused(413, f"The request is larger than {MAX_BODY >> 10} KB.")
    return bytes(found)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "The request holds no JSON object.")
    return found
