"""A real ComfyUI on the CPU with stand-in models, driven over its HTTP queue."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.cli.comfy import ComfyServer, link_pack
from likeness.cli.graphs import ApiGraph
from likeness.remote.client import QueueClient, Result

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ("mara_voss_4_smile.png",)
CPU = ["--cpu", "--use-pytorch-cross-attention", "--disable-api-nodes"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # several threads on a shared machine wait for one another for minutes
NOTHING: ApiGraph = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


@dataclass(frozen=True)
class Running:
    """A server and what a test needs to know about it."""

    client: QueueClient
    url: str
    base: Path
    log: Path

    @property
    def characters(self) -> Path:
        return self.base / "models" / "characters"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=60).close()

    def opened(self) -> dict[str, int]:
        """What was opened since the last question."""
        return self.get("/likeness_probe")

    def run(self, graph: ApiGraph) -> Result:
        return self.client.run(graph, seconds=280)

    def forget(self) -> None:
        """Empty ComfyUI's caches, so that the next run does everything again."""
        self.post("/free", {"unload_models": True, "free_memory": True})
        self.run(NOTHING)  # ComfyUI empties its caches after a prompt, or when its queue happens to wake

    def picture(self, result: Result, node: str = "11") -> images.RGB8:
        return images.decode(self.client.fetch(result.outputs[node]["images"][0]))

    def cached(self, result: Result) -> set[str]:
        """Ids of nodes that were not executed because nothing they depend on had changed."""
        messages = self.get(f"/history/{result.prompt_id}")[result.prompt_id]["status"]["messages"]
        return {node for kind, about in messages if kind == "execution_cached" for node in about["nodes"]}


def make_base(base: Path) -> Path:
    """A ComfyUI base folder with stand-in models, this pack, the probe and the sample's pictures."""
    script = ROOT / "tools" / "make_standins.py"
    subprocess.run([sys.executable, script, "--out", base / "models"], check=True, capture_output=True)
    faces = ROOT / "tools" / "make_standin_faces.py"
    subprocess.run([sys.executable, faces, "--out", base / "models"], check=True, capture_output=True)
    link_pack(base / "custom_nodes")
    shutil.copytree(ROOT / "tests" / "e2e" / "probe_pack", base / "custom_nodes" / "likeness_probe")
    (base / "input").mkdir()
    for n in (1, 2, 3):
        shutil.copy(
            ROOT / "sample" / "characters" / "mara_voss" / "references" / f"00{n}.png",
            base / "input" / f"photo_{n}.png",
        )
    return base


@pytest.fixture(scope="session")
def base(comfy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="ComfyUI's requirements are not installed for this Python")
    return make_base(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(scope="session")
def server(comfy_path: Path, base: Path) -> Iterator[Running]:
    with ComfyServer(comfy_path, Path(sys.executable), base, CPU, ONE_THREAD) as running:
        yield Running(QueueClient(running.url), running.url, base, running.log)
