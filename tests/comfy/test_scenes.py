"""The nodes of scenes in this process, and the lists that they give to ComfyUI's executor."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from likeness.create import NamedImage, create_character, draft
from likeness.dataset.plan import Facts, SetPlan, emit_plan
from likeness.library import Library
from likeness.scenes.metadata import KEY, scene_in, texts_of, with_texts
from likeness.scenes.scene import scene_of

from ..conftest import ROOT, load_folder
from ..fakes import FakeAnalyser, face_picture
from ..unit.dataset.test_caption_edit import plan

NAMES = (
    *("character_variations", "character_sheet", "base_proposals", "save_scene", "scene_outputs", "load_character"),
    "host",
)
NODES = {
    "LikenessCharacterVariations": (
        [
            *("character", "mode", "outfit", "background", "pose", "expression", "camera", "light", "text", "negative"),
            *("seed", "seeds", "per_scene", "count", "only", "vary", "keep", "saved_lists", "save_as", "if_exists"),
            *("skip_existing", "most", "filename_prefix"),
        ],
        ["prompt", "negative_text", "seed_out", "name", "scene", "loras", "report"],
    ),
    "LikenessCharacterSheet": (
        [
            *("character", "pictures", "framing", "text", "negative", "seed", "seeds", "outfits", "backgrounds"),
            "plan",
        ],
        ["prompt", "negative_text", "seed_out", "name", "scene", "loras", "report"],
    ),
    "LikenessBaseProposals": (
        ["description", "count", "text", "negative", "seed", "seeds", "frame"],
        ["prompt", "negative_text", "seed_out", "name", "scene", "loras", "report"],
    ),
    "LikenessSaveScene": (["images", "scene", "filename_prefix"], ["images_out", "files"]),
}


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_scenes_pack", ROOT)
    found = {name: importlib.import_module(f"likeness_scenes_pack.nodes.{name}") for name in NAMES}
    found["errors"] = importlib.import_module("likeness_scenes_pack.likeness.errors")
    found["host"].register_folders()
    found["nodes"] = {
        "LikenessCharacterVariations": found["character_variations"].CharacterVariations,
        "LikenessCharacterSheet": found["character_sheet"].CharacterSheet,
        "LikenessBaseProposals": found["base_proposals"].BaseProposals,
        "LikenessSaveScene": found["save_scene"].SaveScene,
        "LikenessLoadCharacter": found["load_character"].LoadCharacter,
    }
    return SimpleNamespace(**found)


@pytest.fixture
def home(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ComfyUI's folders, with a character."""
    paths = pack.host.folder_paths
    known = paths.folder_names_and_paths["characters"][1]
    monkeypatch.setitem(paths.folder_names_and_paths, "characters", ([str(tmp_path / "characters")], known))
    before = paths.get_output_directory()
    paths.set_output_directory(str(tmp_path / "output"))
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    create_character(
        Library([tmp_path / "characters"]), draft("Ada", trigger="adaray", class_word="woman"), pictures, FakeAnalyser()
    )
    yield tmp_path
    paths.set_output_directory(before)


def character(pack: SimpleNamespace) -> Any:
    return pack.load_character.LoadCharacter.execute("ada").result[0]


def run(pack: SimpleNamespace, name: str, hidden: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """Outputs by id."""
    node = pack.nodes[name]
    out = node.PREPARE_CLASS_CLONE({"hidden_inputs": hidden or {}}).execute(**inputs)
    return {o.id: value for o, value in zip(node.GET_SCHEMA().outputs, out.args, strict=True)}


def vary(pack: SimpleNamespace, mode: str = "outfit", **inputs: Any) -> dict[str, Any]:
    return run(pack, "LikenessCharacterVariations", character=character(pack), mode=mode, **inputs)


def save(pack: SimpleNamespace, scene: Any, value: float = 0.5, batch: int = 1, **inputs: Any) -> list[Path]:
    images = torch.full((batch, 16, 16, 3), value) + torch.arange(batch).reshape(-1, 1, 1, 1) / 100
    out = run(pack, "LikenessSaveScene", images=images, scene=scene, **inputs)
    return [pack.host.output_folder() / line for line in out["files"].splitlines()]


def blocked(found: list[Any]) -> bool:
    return [type(value).__name__ for value in found] == ["ExecutionBlocker"]


def test_ids_of_inputs_and_outputs_stay_and_all_have_tooltips(pack: SimpleNamespace) -> None:
    for name, ids in NODES.items():
        schema = pack.nodes[name].GET_SCHEMA()
        assert schema.node_id == name and schema.category == "likeness/scenes" and "likeness" in schema.search_aliases
        assert ([i.id for i in schema.inputs], [o.id for o in schema.outputs]) == ids
        assert all(part.tooltip for part in [*schema.inputs, *schema.outputs])
        assert (ROOT / "js" / "docs" / f"{name}.md").is_file()


def test_variations_give_lists_that_belong_together(pack: SimpleNamespace, home: Path) -> None:
    out = vary(pack, "outfit", text="photo", negative="blurry")
    assert [len(out[key]) for key in ("prompt", "negative_text", "seed_out", "name", "scene", "loras")] == [5] * 6
    for prompt, negative, seed, name, scene in zip(
        out["prompt"], out["negative_text"], out["seed_out"], out["name"], out["scene"], strict=True
    ):
        assert (scene.prompt, scene.negative, scene.seed, scene.name) == (prompt, negative, seed, name)
    assert out["prompt"][0].startswith("adaray woman, wearing a white t-shirt")
    assert "5 pictures" in out["report"] and "casual" in out["report"]


def test_only_makes_one_of_a_grid_again(pack: SimpleNamespace, home: Path) -> None:
    whole, one = vary(pack, "grid", seed=7), vary(pack, "grid", seed=7, only="winter-beach-leaning")
    at = whole["name"].index("winter-beach-leaning")
    assert len(whole["name"]) == 125 and one["scene"] == [whole["scene"][at]]


def test_typed_lists_take_the_place_of_the_usual_ones(pack: SimpleNamespace, home: Path) -> None:
    assert vary(pack, "outfit", outfit="silk: a silk robe | loras=silk:0.7")["loras"] == ["silk:0.7"]
    with pytest.raises(pack.errors.LikenessError, match="outfit list is empty"):
        vary(pack, "outfit", outfit="# nothing\n")


def test_lists_are_saved_chosen_and_not_replaced_by_accident(pack: SimpleNamespace, home: Path) -> None:
    report = vary(pack, "outfit", outfit="silk: a silk robe", save_as="My Looks")["report"]
    assert "my_looks" in report
    options = next(i for i in pack.nodes["LikenessCharacterVariations"].GET_SCHEMA().inputs if i.id == "saved_lists")
    assert "my_looks" in options.options
    assert vary(pack, "outfit", saved_lists="my_looks")["name"] == ["silk"]
    with pytest.raises(pack.errors.LikenessError, match="my_looks"):
        vary(pack, "outfit", outfit="a hat", save_as="My Looks")
    vary(pack, "outfit", outfit="a hat", save_as="My Looks", if_exists="replace")
    assert vary(pack, "outfit", saved_lists="my_looks")["name"] == ["a_hat"]


def test_a_saved_list_that_changes_runs_the_node_again(pack: SimpleNamespace, home: Path) -> None:
    stamp = pack.nodes["LikenessCharacterVariations"].fingerprint_inputs
    vary(pack, "outfit", save_as="mine")
    before = stamp(saved_lists="mine")
    vary(pack, "outfit", outfit="a hat and a coat", save_as="mine", if_exists="replace")
    assert stamp(saved_lists="mine") != before and stamp() == stamp()


def test_a_saved_picture_holds_its_scene_and_the_graph(pack: SimpleNamespace, home: Path) -> None:
    scene = vary(pack, "outfit", seed=2**64 - 1, seeds="same")["scene"][0]
    hidden = {"PROMPT": {"1": {"class_type": "X"}}, "EXTRA_PNGINFO": {"workflow": {"nodes": ["ü"]}}}
    out = run(pack, "LikenessSaveScene", hidden_of(pack, hidden), images=torch.rand(1, 8, 8, 3), scene=scene)
    assert out["files"] == "likeness/scenes/ada/casual.png"
    path = home / "output" / out["files"]
    with Image.open(path) as image:
        assert json.loads(image.text["prompt"]) == hidden["PROMPT"]
        assert json.loads(image.text["workflow"]) == {"nodes": ["ü"]}
    about = scene_in(path)
    assert about is not None and about["seed"] == 2**64 - 1 and about["character"] == "ada"
    assert about["prompt"] == scene.prompt and about["digest"] == scene.digest


def hidden_of(pack: SimpleNamespace, values: dict[str, Any]) -> dict[Any, Any]:
    from comfy_api.latest import io

    return {io.Hidden[key.lower()]: value for key, value in values.items()}


def test_without_metadata_nothing_is_in_the_file_and_skipping_says_so(
    pack: SimpleNamespace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_metadata", True)
    (path,) = save(pack, vary(pack)["scene"][0])
    assert scene_in(path) is None
    with Image.open(path) as image:
        assert image.text == {}
    with pytest.raises(pack.errors.LikenessError, match="disable-metadata"):
        vary(pack, skip_existing=True)


def test_what_is_there_is_skipped_and_runs_of_one_scene_go_through_the_list(pack: SimpleNamespace, home: Path) -> None:
    seen, stamp = [], pack.nodes["LikenessCharacterVariations"].fingerprint_inputs
    for _ in range(5):
        before = stamp(skip_existing=True)
        out = vary(pack, skip_existing=True, most=1)
        seen += out["name"]
        save(pack, out["scene"][0])
        assert stamp(skip_existing=True) != before
    assert seen == vary(pack)["name"]
    done = vary(pack, skip_existing=True, most=1)
    assert all(blocked(done[key]) for key in ("prompt", "seed_out", "scene", "loras")), "nothing is run"
    assert "5 of which are there already" in done["report"]
    assert len(vary(pack, skip_existing=True, text="other words")["name"]) == 5
    assert vary(pack, skip_existing=True, only="sport")["name"] == ["sport"], "what is asked for by name is made again"


def test_one_picture_is_told_as_one(pack: SimpleNamespace, home: Path) -> None:
    assert vary(pack, outfit="a hat")["report"].startswith("outfit: 1 picture.")
    assert vary(pack, outfit="a hat\na coat")["report"].startswith("outfit: 2 pictures.")


def test_a_batch_is_numbered_and_a_picture_with_alpha_keeps_it(pack: SimpleNamespace, home: Path) -> None:
    scene = vary(pack)["scene"][0]
    assert [p.name for p in save(pack, scene, batch=3)] == ["casual_001.png", "casual_002.png", "casual_003.png"]
    out = run(pack, "LikenessSaveScene", images=torch.full((1, 8, 8, 4), 0.5), scene=scene)
    with Image.open(home / "output" / out["files"]) as image:
        assert image.mode == "RGBA" and image.getpixel((0, 0)) == (128, 128, 128, 128)


def test_a_prefix_cannot_leave_the_output_folder(pack: SimpleNamespace, home: Path) -> None:
    with pytest.raises(pack.errors.PathError):
        save(pack, vary(pack)["scene"][0], filename_prefix="../elsewhere")


def text_of(made: SetPlan) -> str:
    return emit_plan(made).decode()


def test_a_sheet_gives_its_pictures_and_those_that_a_training_set_lacks(pack: SimpleNamespace, home: Path) -> None:
    sheet = run(pack, "LikenessCharacterSheet", character=character(pack), pictures=10)
    assert len(set(sheet["prompt"])) == 10 and "10 pictures" in sheet["report"]
    plain = run(pack, "LikenessCharacterSheet", character=character(pack), outfits="", backgrounds="")
    assert not any("wearing" in prompt for prompt in plain["prompt"])
    made = plan("ohwx woman, a", "ohwx woman, b")
    assert blocked(run(pack, "LikenessCharacterSheet", character=character(pack), plan=text_of(made))["prompt"])
    facts = Facts(framing="portrait", angle="frontal")
    lacking = text_of(
        made.model_copy(update={"items": tuple(i.model_copy(update={"facts": facts}) for i in made.items)})
    )
    more = run(pack, "LikenessCharacterSheet", character=character(pack), plan=lacking)
    assert len(set(more["prompt"])) == len(more["prompt"]) > 5 and "lacks" in more["report"]
    assert all("adaray woman" in prompt for prompt in more["prompt"])
    with pytest.raises(pack.errors.LikenessError, match="plan"):
        run(pack, "LikenessCharacterSheet", character=character(pack), plan="{}")


def test_proposals_need_no_character(pack: SimpleNamespace, home: Path) -> None:
    out = run(pack, "LikenessBaseProposals", description="a sailor")
    assert len(set(out["prompt"])) == 3
    (path,) = save(pack, out["scene"][0])
    assert path.parent == (home / "output" / "likeness" / "scenes").resolve()


# ---- ComfyUI's executor


@pytest.fixture
def executor(pack: SimpleNamespace, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a graph as a server does."""
    import execution

    import nodes

    for name, node in pack.nodes.items():
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, name, node)
    server = SimpleNamespace(client_id=None, last_node_id=None, last_prompt_id=None, send_sync=lambda *a, **k: None)
    cache = {"lru": 0, "ram": 0, "ram_inactive": 0}
    made = execution.PromptExecutor(server, cache_type=execution.CacheType.CLASSIC, cache_args=cache)

    def execute(graph: dict[str, Any]) -> Any:
        valid, error, _, node_errors = asyncio.run(execution.validate_prompt("id", graph, None))
        assert valid and not node_errors, (error, node_errors)
        made.execute(graph, str(uuid.uuid4()), {"extra_pnginfo": {"workflow": {}}}, ["save"])
        assert made.success, made.status_messages
        return made

    return execute


def graph(**inputs: Any) -> dict[str, Any]:
    scenes = {"character": ["load", 0], "mode": "outfit", **inputs}
    return {
        "load": {"class_type": "LikenessLoadCharacter", "inputs": {"character": "ada"}},
        "scenes": {"class_type": "LikenessCharacterVariations", "inputs": scenes},
        "image": {
            "class_type": "EmptyImage",
            "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": ["scenes", 2]},
        },
        "save": {"class_type": "LikenessSaveScene", "inputs": {"images": ["image", 0], "scene": ["scenes", 4]}},
    }


def test_comfyui_runs_every_scene_and_saves_each_under_its_name(executor: Any, home: Path) -> None:
    ran = executor(graph(vary="outfit, pose", mode="grid"))
    files = sorted((home / "output" / "likeness" / "scenes" / "ada").glob("*.png"))
    assert len(files) == 25
    abouts = [scene_in(path) or {} for path in files]
    assert [about["name"] for about in abouts] == [path.stem for path in files]
    shown = ran.history_result["outputs"]["save"]["images"]
    assert {s["filename"] for s in shown} == {p.name for p in files}
    assert {s["subfolder"] for s in shown} == {"likeness/scenes/ada"}


def test_a_graph_queued_again_makes_what_is_missing_and_nothing_else(executor: Any, home: Path) -> None:
    folder = home / "output" / "likeness" / "scenes" / "ada"
    for made in (2, 4, 5, 5):
        executor(graph(skip_existing=True, most=2))
        assert len(list(folder.glob("*.png"))) == made
    times = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.png")}
    (folder / "sport.png").unlink()
    executor(graph(skip_existing=True, most=2))
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.png")}
    assert set(after) == set(times) and {n for n in after if after[n] != times[n]} == {"sport.png"}


def brought(stack: str = "") -> dict[str, Any]:
    """A graph whose outfit brings a LoRA; `stack` is what a LoRA loader on the way to the picture reads."""
    nodes = graph(outfit="silk: a robe | loras=silk:0.7", seed=len(stack))
    nodes["lora"] = {"class_type": "ProbeLora", "inputs": {"stack": ["scenes", 5] if stack == "linked" else stack}}
    nodes["image"]["inputs"]["width"] = ["lora", 0]
    return nodes


def saved_in(home: Path) -> list[dict[str, Any]]:
    return [scene_in(path) or {} for path in sorted((home / "output" / "likeness" / "scenes" / "ada").glob("*.png"))]


@pytest.mark.parametrize("there", [["silk.safetensors"], ["silky.safetensors"]], ids=["there", "unknown"])
def test_loras_that_are_read_must_be_there_and_act_and_others_are_told_as_wanted(
    executor: Any,
    pack: SimpleNamespace,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    there: list[str],
) -> None:
    import nodes

    class ProbeLora:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"stack": ("STRING", {})}})
        RETURN_TYPES, FUNCTION = ("INT",), "run"

        def run(self, stack: str) -> tuple[int]:
            return (16,)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "ProbeLora", ProbeLora)
    monkeypatch.setattr(pack.host, "listed", lambda folder: there)
    shown: list[str] = []
    monkeypatch.setattr(pack.host, "show_text", lambda text, node: shown.append(text))
    executor(brought())
    (about,) = saved_in(home)
    assert (about["loras"], about["loras_wanted"]) == ("", "silk:0.7") and "which do not act" in shown[0]
    assert scene_of(about).loras == "silk:0.7" and scene_of(about).digest == about["digest"]
    if there == ["silky.safetensors"]:
        assert "note: silk: There is no LoRA 'silk'; the nearest name is 'silky'." in shown[0]
        with pytest.raises(AssertionError):
            executor(brought("linked"))
        assert "Scene silk: There is no LoRA 'silk'; the nearest name is 'silky'." in caplog.text
        return
    executor(brought("linked"))
    assert "do not act" not in shown[1]
    told = sorted((a["loras"], a.get("loras_wanted")) for a in saved_in(home))
    assert told == [("", "silk:0.7"), ("silk:0.7", None)]


def test_a_picture_by_another_graph_does_not_count_and_one_that_does_not_tell_does(executor: Any, home: Path) -> None:
    def another(green: int, **more: Any) -> dict[str, Any]:
        nodes = graph(skip_existing=True, **more)
        nodes["image"]["inputs"]["height"] = green
        return nodes

    for height, files in ((16, 5), (16, 5), (24, 10), (16, 10), (24, 10)):
        executor(another(height))
        assert len(saved_in(home)) == files, height
    typed = another(16)  # a seed that somebody typed, and another name of a node, draw nothing else
    typed["picture"] = typed.pop("image")
    typed["picture"]["inputs"]["seed"] = 7
    typed["save"]["inputs"]["images"] = ["picture", 0]
    executor(typed)
    assert len(saved_in(home)) == 10
    folder = home / "output" / "likeness" / "scenes" / "ada"
    for path in folder.glob("*.png"):
        path.unlink() if "(2)" in path.name else path.write_bytes(of_an_older_likeness(path.read_bytes()))
    executor(another(32))
    assert len(saved_in(home)) == 5


def of_an_older_likeness(png: bytes) -> bytes:
    (about,) = [json.loads(text) for key, text in texts_of(io.BytesIO(png)) if key == KEY]
    del about["more"]
    start = png.index(b"tEXtlikeness") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    return with_texts(png[:start] + png[end:], {KEY: json.dumps(about)})


def test_the_same_seed_gives_the_same_bytes(executor: Any, home: Path) -> None:
    folder = home / "output" / "likeness" / "scenes"
    executor(graph())
    first = {p.name: p.read_bytes() for p in (folder / "ada").glob("*.png")}
    shutil.rmtree(folder)
    executor(graph(skip_existing=True))  # another graph, so that nothing comes from the cache
    second = {p.name: p.read_bytes() for p in (folder / "ada").glob("*.png")}
    assert set(first) == set(second) and len(first) == 5
    strip = [{n: scene_in_bytes(b) for n, b in files.items()} for files in (first, second)]
    assert strip[0] == strip[1]


def scene_in_bytes(data: bytes) -> bytes:
    """A file without the graph that it was made by."""
    import re

    return re.sub(rb"....tEXtprompt\x00.*?(?=....tEXtworkflow)", b"", data, flags=re.DOTALL)
