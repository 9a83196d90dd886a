"""Scenes -> pictures in a folder, without repeats or gaps, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from likeness import images
from likeness.errors import LikenessError, ServerError
from likeness.remote import Found, Manifest, Timing, UnfitError, generate
from likeness.remote.again import again
from likeness.remote.folder import JOURNAL, _of_scene
from likeness.remote.media import Media
from likeness.scenes.metadata import with_texts
from likeness.scenes.scene import Scene
from likeness.scoring import Score

from .conftest import QUICK, Make
from .pretended_comfy import Graph, PretendedComfy, graph


def scenes(count: int) -> list[Scene]:
    return [Scene(name=f"scene{i}", seed=100 + i, prompt=f"scene {i}") for i in range(count)]


def graph_of(scene: Scene) -> Graph:
    return graph(scene.seed, scene.name)


def draw(
    servers: Sequence[PretendedComfy | str], out: Path, wanted: Sequence[Scene], timing: Timing = QUICK, **more: Any
) -> Manifest:
    urls = [s if isinstance(s, str) else s.url for s in servers]
    return generate("ada", wanted, urls, out, **{"graph_of": graph_of, "timing": timing, **more})


def drawn(count: int) -> Counter[str]:
    return Counter({f"scene{i}": 1 for i in range(count)})


def test_every_scene_gets_a_file_and_a_row_that_tells_all(pretend: Make, tmp_path: Path) -> None:
    server = pretend(seconds=0.01)
    manifest = draw([server], tmp_path, scenes(4), settings={"checkpoint": "a.safetensors"})
    assert manifest.complete and server.drawn == drawn(4)
    stored = json.loads((tmp_path / "manifest.json").read_bytes())
    assert stored == json.loads(json.dumps(manifest.as_dict()))
    assert (stored["scenes"], stored["drawn"], stored["missing"]) == (4, 4, [])
    for row, scene in zip(stored["pictures"], scenes(4), strict=True):
        data = (tmp_path / row["file"]).read_bytes()
        assert (
            hashlib.sha256(data).hexdigest() == row["sha256"]
            and row["file"] == f"pictures/{scene.name}_{scene.seed}.png"
        )
        assert (row["scene"], row["seed"], row["prompt"]) == (scene.name, scene.seed, scene.prompt)
        assert row["server"] == server.url and row["prompt_id"] in server.history and row["version"]


def test_the_same_seed_gives_the_same_bytes(pretend: Make, tmp_path: Path) -> None:
    one = draw([pretend()], tmp_path / "a", scenes(3))
    two = draw([pretend(), pretend()], tmp_path / "b", scenes(3))
    assert [p.sha256 for p in one.pictures] == [p.sha256 for p in two.pictures]


def test_called_again_it_asks_no_server(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, scenes(3))
    server.stop()
    again_ = draw(["http://127.0.0.1:9"], tmp_path, scenes(3))
    assert again_ == first


def test_more_scenes_are_drawn_beside_those_that_are_there(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    draw([server], tmp_path, scenes(2))
    assert draw([server], tmp_path, scenes(5)).complete
    assert server.drawn == drawn(5)


def test_a_picture_that_somebody_deleted_is_fetched_or_drawn_again(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, scenes(2))
    (tmp_path / first.pictures[0].file).unlink()
    assert draw([server], tmp_path, scenes(2)).pictures[0].sha256 == first.pictures[0].sha256


def test_another_graph_in_the_same_folder_is_refused(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    draw([server], tmp_path, scenes(1))
    with pytest.raises(LikenessError, match="holds pictures of another graph: choose another folder"):
        draw([server], tmp_path, scenes(1), graph_of=lambda scene: graph(scene.seed, scene.name, steps=9))
    with pytest.raises(LikenessError, match="holds pictures of another character"):
        generate("ben", scenes(1), [server.url], tmp_path, graph_of=graph_of)


def test_another_prompt_under_the_same_name_gets_a_file_of_its_own(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, [Scene(name="a", seed=1, prompt="in a park")])
    before = (tmp_path / first.pictures[0].file).read_bytes()
    second = draw([server], tmp_path, [Scene(name="a", seed=1, prompt="on a beach")])
    assert second.pictures[0].file != first.pictures[0].file
    assert (tmp_path / first.pictures[0].file).read_bytes() == before


def test_two_programs_do_not_write_to_one_folder(pretend: Make, tmp_path: Path) -> None:
    slow = pretend(seconds=30.0)
    child = in_another_program([slow.url], tmp_path, 2)
    wait_for(lambda: slow.running is not None)
    with pytest.raises(LikenessError, match="Another program is still using"):
        draw([slow], tmp_path, scenes(2))
    child.kill()
    child.communicate()


def test_a_call_after_one_that_was_refused_goes_on_after_a_stop(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    with pytest.raises(UnfitError):
        draw([server], tmp_path, scenes(2), graph_of=lambda s: graph(s.seed, s.name, sampler_name="eulr"))
    assert draw([server], tmp_path, scenes(2)).complete
    assert draw([server], tmp_path, scenes(2)).complete and server.drawn == drawn(2)
    assert again(f"{tmp_path / 'manifest.json'}#scene0").scene.name == "scene0"


def test_names_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="Several scenes are named scene0"):
        draw(["http://127.0.0.1:9"], tmp_path, [*scenes(1), *scenes(1)])
    with pytest.raises(LikenessError, match="There is no scene"):
        draw(["http://127.0.0.1:9"], tmp_path, [])


def test_a_scene_that_cannot_be_drawn_is_told_and_the_others_go_on(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    server.fails = lambda nodes: "shapes cannot be multiplied" if nodes["2"]["inputs"]["text"] == "scene1" else ""
    manifest = draw([server], tmp_path, scenes(3))
    assert not manifest.complete and [p.scene.name for p in manifest.pictures] == ["scene0", "scene2"]
    (missing,) = manifest.missing
    assert missing.scene == "scene1" and "shapes cannot be multiplied" in missing.reason
    server.fails = lambda nodes: ""
    assert draw([server], tmp_path, scenes(3)).complete and server.drawn == drawn(3)


# ---- checks before anything is queued


def test_what_no_server_can_run_is_told_at_once_and_nothing_is_queued(pretend: Make, tmp_path: Path) -> None:
    server = pretend()

    def bad(scene: Scene) -> Graph:
        nodes = graph(scene.seed, scene.name, sampler_name="eulr", steps=0, cfg=1000.0)
        nodes["1"]["inputs"]["ckpt_name"] = "c.safetensors"
        nodes["9"] = {"class_type": "SaveImag", "inputs": {}, "_meta": {"title": "Keep"}}
        del nodes["3"]["inputs"]["filename_prefix"]
        return nodes

    with pytest.raises(UnfitError) as error:
        draw([server], tmp_path, scenes(50), graph_of=bad)
    text = str(error.value)
    assert len(error.value.problems) == 6 and server.asked["prompt"] == 0
    assert "sampler_name is 'eulr'" in text and "euler" in text
    assert "steps is 0, which is less than 1" in text and "cfg is 1000.0, which is more than 100.0" in text
    assert "ckpt_name is 'c.safetensors'" in text and "a.safetensors, b.safetensors" in text
    assert "Keep (node 9): the server has no node class 'SaveImag'; the nearest is SaveImage" in text
    assert "the input filename_prefix is missing" in text


def test_a_server_that_lacks_something_is_left_out(pretend: Make, tmp_path: Path) -> None:
    without, good = pretend(), pretend()
    without.info = {k: v for k, v in without.info.items() if k != "KSampler"}
    manifest = draw([without, good], tmp_path, scenes(4))
    assert manifest.complete and without.asked["prompt"] == 0
    assert any("was left out" in note and "KSampler" in note for note in manifest.notes)


def test_where_no_server_answers_at_first_it_says_so_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ServerError, match=r"No ComfyUI answers at http://127\.0\.0\.1:9"):
        draw(["127.0.0.1:9"], tmp_path, scenes(2))
    assert time.monotonic() - begun < 5


def test_a_server_that_comes_later_helps(pretend: Make, tmp_path: Path) -> None:
    good, late = pretend(seconds=0.1), pretend()
    late.stop()
    started = []

    def watch(report: object) -> None:
        if isinstance(report, Found) and not started:
            started.append(late.start())

    assert draw([good, late], tmp_path, scenes(12), watch=watch).complete
    assert sum(late.drawn.values()) > 0 and good.drawn + late.drawn == drawn(12)


def test_without_the_check_the_server_says_it(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    server.refuses = lambda nodes: "sampler_name: 'eulr' not in list"
    manifest = draw([server], tmp_path, scenes(2), check=False)
    assert [("'eulr' not in list" in m.reason) for m in manifest.missing] == [True, True]


def test_a_prompt_of_10_000_words_is_drawn_and_written_down(pretend: Make, tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(10_000))
    scene = Scene(name="long", seed=1, prompt=words)
    manifest = draw([pretend()], tmp_path, [scene], graph_of=lambda s: graph(s.seed, s.prompt))
    assert manifest.complete and manifest.as_dict()["pictures"][0]["prompt"] == words


# ---- best of


@dataclass
class Pretended:
    """Likes the pictures of some seeds; stands for engine and judge."""

    good: dict[str, float]  # text -> similarity

    def score(self, path: Path) -> Score:
        about = path.read_bytes()
        found = next((v for text, v in self.good.items() if f'"seed": {text}'.encode() in about), 0.1)
        return Score(path.name, "accepted" if found >= 0.5 else "rejected", f"{found}", (), None, None)

    def settings(self) -> dict[str, Any]:
        return {}

    class judge:
        @staticmethod
        def notes() -> list[str]:
            return []


def scorer(**good: float) -> Any:
    return Pretended(good)


def test_best_of_stops_at_the_first_that_is_accepted(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    manifest = draw([server], tmp_path, scenes(2), scorer=Pretended({"100": 0.9}), best_of=3)
    assert server.drawn == Counter(scene0=1, scene1=3)
    assert [p.chosen for p in manifest.pictures] == [True, True, False, False]
    assert len(list((tmp_path / "pictures").iterdir())) == 2 and len(list((tmp_path / "others").iterdir())) == 2
    seeds = {p.scene.seed for p in manifest.pictures}
    assert len(seeds) == 4 and manifest.counts()["accepted"] == 1 and manifest.complete


def test_best_of_goes_on_after_a_stop(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, scenes(2), scorer=Pretended({"100": 0.9}), best_of=3)
    assert draw(["127.0.0.1:9"], tmp_path, scenes(2), scorer=Pretended({"100": 0.9}), best_of=3) == first
    assert draw([server], tmp_path, scenes(2), scorer=Pretended({"100": 0.9}), best_of=4).complete
    assert server.drawn == Counter(scene0=1, scene1=4)


def test_best_of_needs_scores(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="chosen by their scores"):
        draw(["127.0.0.1:9"], tmp_path, scenes(1), best_of=2)


# ---- stopped and killed

PROGRAM = """
import sys
from pathlib import Path
sys.path[:] = [p for p in sys.path if p]
from likeness.remote import Timing, generate
from likeness.scenes.scene import Scene

def graph_of(scene):
    sampler = {"model": ["1", 0], "seed": scene.seed, "steps": 4, "cfg": 7.0, "sampler_name": "euler",
               "scheduler": "karras", "text": scene.name}
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
            "2": {"class_type": "KSampler", "inputs": sampler},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}}

scenes = [Scene(name=f"scene{i}", seed=100 + i, prompt=f"scene {i}") for i in range(int(sys.argv[2]))]
quick = Timing(look=0.005, look_most=0.05, check=0.1, back_off=0.05, back_off_most=0.2, closing=2.0)
generate("ada", scenes, sys.argv[3:], Path(sys.argv[1]), graph_of=graph_of, timing=quick)
"""


def in_another_program(servers: Sequence[str], out: Path, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(out), str(count), *servers]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_grid_goes_on_after_kills_without_repeats_or_gaps(pretend: Make, tmp_path: Path) -> None:
    servers = [pretend(seconds=0.01), pretend(seconds=0.02)]
    urls, count, kept = [s.url for s in servers], 125, 0
    rng = np.random.default_rng(3)
    for stop in (10, 40, 70, 95):
        child = in_another_program(urls, tmp_path, count)
        wait_for(lambda stop=stop: sum(sum(s.drawn.values()) for s in servers) >= stop)
        time.sleep(float(rng.uniform(0, 0.03)))
        child.kill()
        child.communicate()
        if (tmp_path / "manifest.json").exists():
            json.loads((tmp_path / "manifest.json").read_bytes())
        kept = max(kept, len(list((tmp_path / "pictures").glob("*.png"))))
    manifest = draw(servers, tmp_path, scenes(count))
    assert manifest.complete and kept > 40
    assert len(list((tmp_path / "pictures").iterdir())) == len(manifest.pictures) == count
    assert sum((s.drawn for s in servers), Counter()) == drawn(count)  # what was queued when it was killed, too
    for picture in manifest.pictures:
        assert hashlib.sha256((tmp_path / picture.file).read_bytes()).hexdigest() == picture.sha256


def test_half_a_line_in_the_journal_costs_one_picture_at_most(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, scenes(3))
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    for cut in range(1, len(whole), 97):
        journal.write_bytes(whole[:-cut])
        assert [p.sha256 for p in draw([server], tmp_path, scenes(3)).pictures] == [p.sha256 for p in first.pictures]


def test_a_signal_takes_our_prompts_off_the_servers(pretend: Make, tmp_path: Path) -> None:
    server = pretend(seconds=20.0)
    server.pending.append((0, "theirs", graph(9, "theirs"), {}, ""))
    wait_for(lambda: server.running is not None)
    child = in_another_program([server.url], tmp_path, 5)
    wait_for(lambda: len(server.pending) == 2)
    child.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in child.communicate(timeout=30)[1]
    assert server.pending == [] and server.running is not None and server.running[1] == "theirs"
    assert json.loads((tmp_path / "manifest.json").read_bytes())["drawn"] == 0


def test_a_full_disk_is_one_sentence(pretend: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from likeness.remote import folder

    def full(path: Path, data: bytes) -> None:
        raise LikenessError(f"Could not write {path}: the disk is full.")

    monkeypatch.setattr(folder, "write_new", full)
    with pytest.raises(LikenessError, match="the disk is full"):
        draw([pretend()], tmp_path, scenes(2))


# ---- again


def test_a_picture_is_made_again_from_its_row(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    first = draw([server], tmp_path, scenes(3))
    for source in ("manifest.json#scene1", "manifest.json#2", "pictures/scene1_101.png", f"#{first.pictures[1].key}"):
        found = again(f"{tmp_path}/{source}" if not source.startswith("#") else f"{tmp_path}{source}")
        assert found.sha256 == first.pictures[1].sha256 and found.graph == graph_of(scenes(3)[1])
    manifest = draw(
        [pretend()],
        tmp_path / "again",
        [found.scene],
        graph_of=found.graph_of,
        metadata_of=lambda scene: found.metadata,
    )
    assert manifest.pictures[0].sha256 == found.sha256


def test_what_cannot_be_made_again_is_told(pretend: Make, tmp_path: Path) -> None:
    draw([pretend()], tmp_path, scenes(2))
    plain = tmp_path / "plain.png"
    plain.write_bytes(images.encode_png(np.zeros((8, 8, 3), np.uint8)))
    for source, said in (
        (str(plain), "does not hold the graph"),
        (str(tmp_path / "nothing.png"), "is no picture"),
        (f"{tmp_path}/manifest.json#scene9", "has no picture 'scene9'"),
        (str(tmp_path / "manifest.json"), "has no picture"),
    ):
        with pytest.raises(LikenessError, match=said):
            again(source)


def test_a_server_that_reports_pictures_of_odd_names_writes_nowhere_else(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    old = server._entry

    def entry(*arguments: Any) -> dict[str, Any]:
        made = old(*arguments)
        (image,) = made["outputs"]["3"]["images"]
        server.files["../../evil.png"] = server.files[image["filename"]]
        extra = [{"filename": n, "subfolder": "", "type": "output"} for n in ("../../evil.png", "run.sh", "x.png/../y")]
        made["outputs"]["3"]["images"] += extra
        return made

    server._entry = entry  # type: ignore[method-assign]
    out = tmp_path / "deep" / "out"
    assert draw([server], out, scenes(1)).complete
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files <= {
        f"deep/out/{n}"
        for n in (
            "pictures/scene0_100.png",
            "pictures/scene0_100_2.png",
            "manifest.json",
            JOURNAL,
            ".likeness-generate.lock",
        )
    }


def test_an_unhealthy_answer_to_the_check_is_told(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    server.reply = lambda request: web.Response(text="<html>") if request.path == "/object_info" else None
    with pytest.raises(ServerError, match="is no ComfyUI"):
        draw([server], tmp_path, scenes(1))


def test_a_call_that_drew_nothing_holds_no_folder(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    with pytest.raises(LikenessError):
        draw([server], tmp_path, scenes(1), graph_of=lambda scene: {"1": {"class_type": "Nobody", "inputs": {}}})
    assert draw([server], tmp_path, scenes(1)).complete


def test_the_manifest_keeps_the_rows_of_earlier_calls(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    draw([server], tmp_path, scenes(2))
    draw([server], tmp_path, [Scene(name="other", seed=1, prompt="on a beach")])
    stored = json.loads((tmp_path / "manifest.json").read_bytes())
    assert [row["scene"] for row in stored["pictures"]] == ["other"]
    assert [row["scene"] for row in stored["earlier"]] == ["scene0", "scene1"]
    assert again(f"{tmp_path / 'manifest.json'}#scene1").scene.seed == 101
    draw([server], tmp_path, scenes(2))
    stored = json.loads((tmp_path / "manifest.json").read_bytes())
    assert len(stored["pictures"]) == 2 and [row["scene"] for row in stored["earlier"]] == ["other"]


def test_of_a_graph_that_draws_a_whole_list_only_the_scenes_own_picture_is_kept(tmp_path: Path) -> None:
    wanted, other = scenes(2)
    plain = images.encode_png(np.zeros((8, 8, 3), np.uint8))
    made = tuple(Media(".png", with_texts(plain, {"likeness": json.dumps(s.metadata("ada"))})) for s in (other, wanted))
    assert _of_scene(made, wanted) == (made[1],)
    bare = (Media(".png", plain), Media(".png", plain))
    assert _of_scene(bare, wanted) == bare
