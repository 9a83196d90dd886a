"""A real ComfyUI with the pack in a folder of another name, and with what an earlier version left."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from likeness.cli.comfy import ComfyServer, link_pack
from likeness.graph_needs import needs_of

from .conftest import PREVIOUS, ROOT

FOLDER = "xx-likeness_123"
pytestmark = pytest.mark.packaging
ARGUMENTS = ["--cpu", "--disable-api-nodes"]
GRAPHS = sorted((PREVIOUS / "api_graphs").glob("*.json"))
WORKFLOWS = sorted((PREVIOUS / "example_workflows").glob("*.json"))


class Server:
    def __init__(self, url: str) -> None:
        self._url = url

    def text(self, path: str, body: object = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._url + urllib.parse.quote(path), data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(answer.read().decode())

    def json(self, path: str, body: object = None) -> Any:
        return json.loads(self.text(path, body))


@pytest.fixture(scope="module")
def server(comfy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("av", reason="ComfyUI's requirements are not installed for this Python")
    base = tmp_path_factory.mktemp("comfyui")
    link_pack(base / "custom_nodes", FOLDER)
    shutil.copy(Path(__file__).with_name("ask.py"), base / "custom_nodes" / "ask.py")
    with zipfile.ZipFile(PREVIOUS / "data.zip") as written:
        written.extractall(base / "models", [n for n in written.namelist() if n.startswith("characters/")])
    (base / "input").mkdir()
    for slug in ("my_character", "my_other_character"):  # as the graphs call them
        shutil.copytree(base / "models" / "characters" / "ada_ray", base / "models" / "characters" / slug)
    for graph in map(load, GRAPHS):
        for node in graph.values():
            if node["class_type"] == "LoadImage":
                (base / "input" / node["inputs"]["image"]).touch()
        for need in needs_of(graph, lambda folder: []):
            (base / "models" / need.folder).mkdir(parents=True, exist_ok=True)
            (base / "models" / need.folder / need.file).touch()
    with ComfyServer(comfy_path, Path(sys.executable), base, ARGUMENTS, {"OMP_NUM_THREADS": "1"}) as running:
        assert "IMPORT FAILED" not in running.log.read_text(errors="replace")
        yield Server(running.url)


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nodes(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.json("/object_info")
    return found


def test_the_nodes_are_there_under_any_folder_name(nodes: dict[str, Any]) -> None:
    ours = [n for n, about in nodes.items() if about["python_module"] == f"custom_nodes.{FOLDER}"]
    assert set(ours) == {n for n in nodes if n.startswith("Likeness")}
    assert {p.stem for p in (ROOT / "js" / "docs").glob("*.md")} <= set(ours)


def test_code_and_help_of_the_editor_are_served(server: Server) -> None:
    listed = [u for u in server.json("/extensions") if "likeness" in u]
    scripts = [p.name for p in (ROOT / "js").glob("*.js")]
    assert sorted(listed) == sorted(f"/extensions/{FOLDER}/{name}" for name in scripts)  # each once
    for name in [*scripts, *(f"lib/{p.name}" for p in (ROOT / "js" / "lib").glob("*.mjs"))]:
        assert server.text(f"/extensions/{FOLDER}/{name}")
    assert server.text(f"/extensions/{FOLDER}/docs/LikenessApplyCharacter.md").startswith("#")


def test_templates_words_and_blueprints_are_served(server: Server) -> None:
    templates = server.json("/workflow_templates")[FOLDER]
    assert sorted(templates) == sorted(p.stem for p in (ROOT / "example_workflows").glob("*.json"))
    for name in templates:
        assert server.json(f"/api/workflow_templates/{FOLDER}/{name}.json")["nodes"]
    words = server.json("/i18n")
    for language in (p.name for p in (ROOT / "locales").glob("*")):
        assert "LikenessApplyCharacter" in words[language]["nodeDefs"], language
    blueprints = [b for b in server.json("/global_subgraphs").values() if FOLDER in str(b)]
    assert len(blueprints) == len(list((ROOT / "subgraphs").glob("*.json")))


def test_the_routes_show_a_character_of_the_earlier_version(server: Server) -> None:
    found = {c["slug"]: c for c in server.json("/likeness/characters")["characters"]}
    assert found["ada_ray"]["error"] == "" and found["ada_ray"]["references"] == 3
    assert found["ada_ray"]["loras"] == {"sd15": 2} and found["ada_ray"]["calibrated"]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_graphs_of_the_earlier_version_are_still_accepted(server: Server, path: Path) -> None:
    assert server.json("/packaging_test", load(path)) == {"valid": True, "problems": []}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_of_the_earlier_version_keep_their_values_in_place(nodes: dict[str, Any], path: Path) -> None:
    """The editor hands saved values out by position: what was first stays first, and what is new comes last."""
    for node in load(path)["nodes"]:
        if not node["type"].startswith("Likeness"):
            continue
        today = nodes[node["type"]]
        inputs = {n: about for kind in ("required", "optional") for n, about in today["input"].get(kind, {}).items()}
        names = [n for kind in ("required", "optional") for n in today["input_order"].get(kind, ())]
        saved = [i for i in node["inputs"] if "." not in i["name"]]  # the others belong to the one before the dot
        assert {i["name"] for i in saved} <= set(names)
        values = [i["name"] for i in saved if "widget" in i]
        assert [n for n in names if has_widget(*inputs[n])][: len(values)] == values, node["type"]
        outputs = [o["name"] for o in node.get("outputs", ())]
        assert today["output_name"][: len(outputs)] == outputs


def has_widget(kind: object, about: dict[str, Any]) -> bool:
    named = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
    return (isinstance(kind, list) or kind in named) and not about.get("forceInput")
