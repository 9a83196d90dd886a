"""`likeness best-of` against a server that only pretends to draw."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from likeness.best_of import MAX_SEED
from likeness.cli import best_of as command
from likeness.cli.best_of import add_options, find_seeds
from likeness.errors import LikenessError, ServerError
from likeness.inject import read_workflow_file

from ..conftest import ROOT
from .test_commands import PICTURES, SMILE, Call, call, face_folder  # noqa: F401  fixtures

STRANGER = ROOT / "sample" / "pictures" / "tomas_reed.png"
BETWEEN = 0.52  # the stand-in face model gives .530 to her own picture and .513 to somebody else's
GRAPH: dict[str, dict[str, Any]] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}


class Server:
    """Draws her for the seeds in `good`, somebody else for the others; stops answering before `fails`."""

    def __init__(self) -> None:
        self.good: set[int] = set()
        self.fails: int | None = None
        self.seeds: list[int] = []
        self.url = ""

    def queue(self, graph: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        seed = graph["3"]["inputs"]["seed"]
        if seed == self.fails:
            return 500, {"error": {"message": "out of memory"}}
        self.seeds.append(seed)
        return 200, {"prompt_id": str(seed)}

    @staticmethod
    def history(prompt_id: str) -> dict[str, Any]:
        saved = [{"filename": f"{prompt_id}.png", "subfolder": "", "type": "output"}]
        shown = [{"filename": "preview.png", "subfolder": "", "type": "temp"}]
        outputs = {"9": {"images": saved}, "12:3": {"images": shown}}  # nodes of a subgraph have such ids
        return {prompt_id: {"status": {"completed": True, "status_str": "success"}, "outputs": outputs}}

    def view(self, name: str) -> bytes:
        return (SMILE if int(name.split(".")[0]) in self.good else STRANGER).read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    drawing = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code, answer = drawing.queue(body["prompt"])
            self.answer(json.dumps(answer).encode(), code)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/view":
                self.answer(drawing.view(parse_qs(url.query)["filename"][0]))
            else:
                self.answer(json.dumps(drawing.history(url.path.rsplit("/", 1)[1])).encode())

        def answer(self, data: bytes, code: int = 200) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        drawing.url = f"http://127.0.0.1:{running.server_port}"
        yield drawing
        running.shutdown()


class Best:
    """Runs the command on the fake server and reads what it left."""

    def __init__(self, server: Server, places: Any, tmp_path: Path) -> None:
        self.server, self.places, self.out = server, places, tmp_path / "out"
        self.graph = tmp_path / "graph.json"
        self.write(GRAPH)

    def write(self, graph: Any) -> None:
        self.graph.write_text(json.dumps(graph), encoding="utf-8")

    def __call__(self, *words: Any, threshold: float = BETWEEN) -> int:
        parser = argparse.ArgumentParser()
        add_options(parser)
        judging = {"threshold": threshold, "second": None, "face_model": "", "provider": "cpu", "backend": "likeness"}
        parser.set_defaults(**judging, json=True, measure_drawn=True)
        shared = ["--server", self.server.url, "--out", str(self.out)]
        parsed = parser.parse_args(["mara", str(self.graph), *shared, *map(str, words)])
        return command.best_of(parsed, self.places)

    @property
    def journal(self) -> dict[str, Any]:
        return json.loads((self.out / command.JOURNAL).read_text(encoding="utf-8"))


@pytest.fixture
def best(server: Server, call: Call, face_folder: Path, tmp_path: Path) -> Best:  # noqa: F811
    from likeness.cli.places import places_of

    code, _, problem = call("create", "Mara", *PICTURES)
    assert code == 0, problem
    where = argparse.Namespace(library=str(tmp_path / "library"), face_models=str(face_folder))
    return Best(server, places_of(where), tmp_path)


def test_it_stops_when_enough_are_accepted(best: Best, capsys: pytest.CaptureFixture[str]) -> None:
    best.server.good = {6, 8, 9}
    assert best("--wanted", 2, "--limit", 20) == 0
    assert best.server.seeds == [5, 6, 7, 8]
    told = best.journal
    assert json.loads(capsys.readouterr().out) == told
    assert told["best"] == ["6_1.png", "8_1.png"] and told["seeds"] == [5, 6, 7, 8] and told["accepted"] == 2
    assert [row["verdict"] for row in told["pictures"]] == ["rejected", "accepted", "rejected", "accepted"]
    assert (best.out / told["pictures"][1]["file"]).read_bytes() == SMILE.read_bytes()
    assert told["seed_inputs"] == ["3.seed"]


def test_too_few_is_exit_code_1_with_the_best_there_are(best: Best) -> None:
    best.server.good = {6}
    assert best("--wanted", 2, "--limit", 3) == 1
    assert best.server.seeds == [5, 6, 7]
    assert best.journal["best"][0] == "6_1.png" and len(best.journal["best"]) == 2
    assert best.journal["outcome"] == "Only 1 of 2 wanted were accepted in 3 attempts, which is the limit."


def test_it_goes_on_where_it_stopped(best: Best) -> None:
    best.server.fails = 7
    with pytest.raises(ServerError, match="out of memory"):
        best("--limit", 4)
    assert best.server.seeds == [5, 6] and len(best.journal["pictures"]) == 2
    best.server.fails = None
    assert best("--limit", 4) == 1
    assert best.server.seeds == [5, 6, 7, 8], "nothing is drawn twice"
    assert best("--limit", 4, threshold=0.1) == 0, "what is there is scored anew"
    assert best.server.seeds == [5, 6, 7, 8] and best.journal["attempts"] == 1
    assert best("--limit", 4) == 1
    assert best.server.seeds == [5, 6, 7, 8], "a call that needed fewer has forgotten nothing"


def test_a_picture_that_was_deleted_is_drawn_again(best: Best) -> None:
    best("--limit", 2)
    (best.out / command.PICTURES / "6_1.png").unlink()
    best("--limit", 2)
    assert best.server.seeds == [5, 6, 6]


def test_another_graph_needs_another_folder(best: Best) -> None:
    best("--limit", 1)
    changed = {**GRAPH, "3": {**GRAPH["3"], "inputs": {**GRAPH["3"]["inputs"], "seed": 900}}}
    best.write(changed)
    assert best("--limit", 1) == 1, "another seed is the same graph"
    best.write({**GRAPH, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "b.safetensors"}}})
    with pytest.raises(LikenessError, match="pictures of another graph: choose another --out"):
        best("--limit", 1)


def seeded(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {i.lstrip("n"): {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in nodes.items()}


def test_seeds_are_found_where_they_are_numbers() -> None:
    graph = seeded(
        n1=("KSampler", {"seed": 5}),
        n2=("RandomNoise", {"noise_seed": 50}),
        n3=("KSampler", {"seed": ["1", 0]}),
        n4=("Other", {"seed": True}),
    )
    seeds = find_seeds(graph)
    assert seeds.places == (("1", "seed"), ("2", "noise_seed")) and seeds.first == 5
    moved = seeds.at(graph, 7)
    assert moved["1"]["inputs"]["seed"] == 7 and moved["2"]["inputs"]["noise_seed"] == 52
    assert graph["1"]["inputs"]["seed"] == 5 and seeds.key(moved) == find_seeds(moved).key(moved) == seeds.key(graph)
    assert find_seeds(graph, "2").places == (("2", "noise_seed"),)
    both = {**graph, **seeded(n9=("LikenessSeed", {"seed": MAX_SEED}))}
    assert find_seeds(both).places == (("9", "seed"),), "a Seed node is where seeds are meant to be changed"
    assert find_seeds(both).at(both, 0)["9"]["inputs"]["seed"] == 0


def test_a_graph_without_a_seed_is_explained(best: Best) -> None:
    with pytest.raises(LikenessError, match="no node 77"):
        find_seeds(GRAPH, "77")
    with pytest.raises(LikenessError, match="Node 4 has no seed that is a number"):
        find_seeds(GRAPH, "4")
    with pytest.raises(LikenessError, match="The graph has no seed"):
        find_seeds({"4": GRAPH["4"]})
    for wrong, told in (({"nodes": [], "links": []}, "editor's own format"), ([], "no workflow"), ({}, "no node")):
        best.write(wrong)
        with pytest.raises(LikenessError, match=told):
            read_workflow_file(best.graph)
    best.write({"prompt": GRAPH})
    assert read_workflow_file(best.graph).graph == GRAPH
    best.graph.write_text("{", encoding="utf-8")
    with pytest.raises(LikenessError, match="is not JSON"):
        read_workflow_file(best.graph)


def test_a_journal_that_is_broken_is_named(best: Best) -> None:
    best("--limit", 1)
    (best.out / command.JOURNAL).write_text('{"graph": 1}', encoding="utf-8")
    with pytest.raises(LikenessError, match="cannot be read"):
        best("--limit", 1)
