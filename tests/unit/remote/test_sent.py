"""Graphs as they are sent: names of their own, and what a picture was drawn with."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from likeness.remote import generate
from likeness.remote.again import again
from likeness.remote.folder import Request
from likeness.remote.sent import as_it_was, as_sent
from likeness.scenes.metadata import KEY, with_texts
from likeness.scenes.scene import Scene

from .conftest import QUICK, Make
from .pretended_comfy import INFO, Graph, graph, png

SHOWS = {**INFO, "PreviewAny": {"input": {"required": {"source": ["*"]}}, "output": ["STRING"], "output_node": True}}


def scenes(count: int) -> list[Scene]:
    return [Scene(name=f"scene{i}", seed=100 + i, prompt=f"scene {i}") for i in range(count)]


def graph_of(scene: Scene) -> Graph:
    """The number of its steps is hidden behind a link."""
    nodes = graph(scene.seed, scene.name)
    nodes["7"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}
    nodes["2"]["inputs"]["steps"] = ["7", 0]
    return nodes


def queued(server: Any) -> list[Graph]:
    sent: list[Graph] = []
    server.picture = lambda nodes, about: sent.append(nodes) or png(about)
    return sent


def test_no_two_requests_save_under_one_name_and_ours_keep_theirs(pretend: Make, tmp_path: Path) -> None:
    servers = [pretend(), pretend()]
    sent = [queued(server) for server in servers]
    made = generate(
        "ada", scenes(6), [s.url for s in servers], tmp_path, graph_of=lambda s: graph(s.seed), timing=QUICK
    )
    names = [nodes["3"]["inputs"]["filename_prefix"] for row in sent for nodes in row]
    assert made.complete and len(set(names)) == 6 and set(names) == {f"x_{p.key}" for p in made.pictures}
    saver = {"1": {"class_type": "LikenessSaveScene", "inputs": {"filename_prefix": "mine"}}}
    assert as_sent(saver, "0" * 16, ask=True) == saver


def test_servers_that_share_an_output_folder_do_not_mix_their_pictures(pretend: Make, tmp_path: Path) -> None:
    servers, disk = [pretend(seconds=0.01), pretend(seconds=0.01)], dict[str, bytes]()
    for server in servers:
        server.files = disk
        server.lag = 0.005  # between a picture and its fetching
        counts = Counter[str]()

        def name_of(nodes: Graph, about: str, counts: Counter[str] = counts) -> str:
            prefix = nodes["3"]["inputs"]["filename_prefix"]
            counts[prefix] += 1  # each server counts for itself
            return f"{prefix}_{counts[prefix]:05}_.png"

        server.name_of = name_of
    urls = [s.url for s in servers]
    made = generate("ada", scenes(12), urls, tmp_path, graph_of=lambda s: graph(s.seed, s.name), timing=QUICK)
    for picture in made.pictures:
        assert f'"{picture.scene.name}"'.encode() in (tmp_path / picture.file).read_bytes()
    assert len(disk) == 12 and all(sum(s.drawn.values()) for s in servers)


def test_the_key_of_a_request_is_that_of_the_graph_before_it_was_named(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    (picture,) = generate(
        "ada", scenes(1), [server.url], tmp_path, graph_of=graph_of, timing=QUICK, check=False
    ).pictures
    assert picture.key == Request(scenes(1)[0], graph_of(scenes(1)[0])).key


def test_a_row_tells_what_it_was_drawn_with_and_when(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    server.info, server.shows = SHOWS, {"Likeness: steps": "25"}
    sent = queued(server)
    draw: Any = {"graph_of": graph_of, "timing": QUICK, "check": True, "settings": {"family": "sd15"}}
    server.info["CheckpointLoaderSimple"] = {**INFO["CheckpointLoaderSimple"], "output": ["MODEL,INT", "CLIP", "VAE"]}
    made = generate("ada", scenes(2), [server.url], tmp_path, **draw)
    told = json.loads((tmp_path / "manifest.json").read_bytes())
    for row in told["pictures"]:
        about = row["drawn_with"]
        assert (about["steps"], about["cfg"], about["sampler"], about["scheduler"]) == (25, 7.0, "euler", "karras")
        assert about["checkpoint"] == "a.safetensors" and about["family"] == "sd15" and about["loras"] == []
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["date"]) and row["version"]
    assert any(node["class_type"] == "PreviewAny" for node in sent[0].values())
    server.stop()
    assert generate("ada", scenes(2), ["127.0.0.1:9"], tmp_path, **draw) == made


def test_a_server_without_that_node_is_not_asked(pretend: Make, tmp_path: Path) -> None:
    shows, plain = pretend(), pretend()
    shows.info = SHOWS
    sent = [queued(shows), queued(plain)]
    wanted = [Scene(name=f"s{i}", seed=i, prompt="") for i in range(4)]
    generate("ada", wanted, [shows.url, plain.url], tmp_path, graph_of=lambda s: graph(s.seed), timing=QUICK)
    assert not any(n["class_type"] == "PreviewAny" for row in sent for nodes in row for n in nodes.values())


def test_a_graph_from_a_picture_is_again_what_it_was(tmp_path: Path) -> None:
    scene = scenes(1)[0]
    request = Request(scene, graph_of(scene))
    sent = json.loads(json.dumps(as_sent(request.graph, request.key, ask=True)))
    sent["2"]["is_changed"] = "x"  # as ComfyUI writes it
    texts = {"prompt": json.dumps(sent), KEY: json.dumps(scene.metadata())}
    (tmp_path / "a.png").write_bytes(with_texts(png("x"), texts))
    found = again(str(tmp_path / "a.png"))
    assert found.graph == request.graph and found.own_names
    assert as_sent(found.graph, Request(found.scene, found.graph).key, ask=True) == as_sent(
        request.graph, request.key, True
    )


def test_somebody_elses_graph_stays_to_the_letter(tmp_path: Path) -> None:
    nodes = {**graph(), "9": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}, "_meta": {"title": "mine"}}}
    nodes["3"]["inputs"]["filename_prefix"] = f"x_{'0' * 16}"
    (tmp_path / "a.png").write_bytes(with_texts(png("x"), {"prompt": json.dumps(nodes)}))
    found = again(str(tmp_path / "a.png"))
    assert found.graph == nodes and not found.own_names
    assert as_it_was({"1": "odd", "2": {"class_type": "A"}}, lambda was: "") is None  # type: ignore[dict-item]
