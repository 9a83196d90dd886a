"""The routes on aiohttp's own test server, with a small backend in ComfyUI's place."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from likeness.faces.cache import EmbeddingCache

from ..conftest import ROOT, load_folder
from ..fakes import FakeAnalyser, face_picture

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: ComfyUI brings it")
NAME = "likeness_server_pack"
POST = {"Content-Type": "application/json", "X-Likeness": "1"}


@pytest.fixture(scope="session")
def pack() -> Any:
    """The pack as ComfyUI loads it; `pack("likeness.library")` is its module of that name."""
    load_folder(NAME, ROOT)
    return lambda name: importlib.import_module(f"{NAME}.{name}")


@dataclass
class FakeBackend:
    """`server.backend.Backend` on folders of a test."""

    pack: Any
    home: Path
    events: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)

    def library(self) -> Any:
        read = self.pack("likeness.settings").read_settings
        return self.pack("likeness.library").Library(
            [self.home / "characters"], lambda: read(self.settings_file()).keep_crops
        )

    def folders(self) -> Any:
        return self.pack("likeness.doctor").model_folders(self.home)

    def listed(self, folder: str) -> list[str]:
        return ["sd15.safetensors"] if folder == "checkpoints" else []

    def analyser(self, pack: str) -> Any:
        return FakeAnalyser()

    def cache(self) -> EmbeddingCache:
        return EmbeddingCache(self.home / "cache")

    def input_folder(self) -> Path:
        return self.home / "input"

    def output_folder(self) -> Path:
        return self.home / "output"

    def settings_file(self) -> Path:
        return self.home / "settings.json"

    def versions(self) -> Mapping[str, str]:
        return {"Likeness": "0"}

    def tell(self, event: str, data: Mapping[str, Any], client: str) -> None:
        self.events.append((event, dict(data), client))

    def tell_all(self, event: str) -> None:
        self.events.append((event, {}, "everybody"))


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        import json

        return json.loads(self.data)


@dataclass
class Panel:
    """Asks the routes, as the panel does unless `headers` say otherwise."""

    backend: FakeBackend
    loop: asyncio.AbstractEventLoop
    client: Any

    def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **given: Any) -> Answered:
        async def go() -> Answered:
            async with self.client.request(method, path, headers=headers, **given) as answer:
                return Answered(answer.status, answer.headers, await answer.read())

        return self.loop.run_until_complete(go())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answered:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, **body: Any) -> Answered:
        import json

        return self.ask("POST", path, headers=POST, data=json.dumps(body))


@pytest.fixture
def panel(pack: Any, tmp_path: Path) -> Iterator[Panel]:
    """A library with Ada, of three photos, and two more photos in the input folder."""
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    backend = FakeBackend(pack, tmp_path)
    make_character(pack, backend, "Ada", 1)
    images = pack("likeness.images")
    (tmp_path / "input").mkdir()
    for i in range(5):
        (tmp_path / "input" / f"zoe_{i}.png").write_bytes(images.encode_png(face_picture(5, i)))
    table, app = web.RouteTableDef(), web.Application(client_max_size=100 << 20)
    pack("server.routes").add_routes(table, backend)
    app.add_routes(table)
    loop = asyncio.new_event_loop()
    client = TestClient(TestServer(app, host="127.0.0.1"), loop=loop)
    loop.run_until_complete(client.start_server())
    yield Panel(backend, loop, client)
    loop.run_until_complete(client.close())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def make_character(pack: Any, backend: FakeBackend, name: str, person: int, **texts: str) -> None:
    create = pack("likeness.create")
    pictures = [create.NamedImage(f"{i}.png", face_picture(person, i)) for i in range(3)]
    create.create_character(backend.library(), create.draft(name, **texts), pictures, FakeAnalyser())
