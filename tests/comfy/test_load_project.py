"""Load Project with a real checkpoint of ComfyUI, in this process."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ..conftest import ROOT, load_folder
from ..lora_files import lora_file
from ..tiny_unet import write_tiny_unet
from .test_lora_stack import write

NAMES = (
    "nodes.load_project",
    "nodes.host",
    "nodes.place_character",
    "likeness.errors",
    "likeness.lora_registry",
    "likeness.projects",
    "likeness.profile",
    "likeness.character",
)


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_project_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_project_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture(scope="module")
def checkpoint(comfy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has a model alone: no text encoder and no VAE."""
    return write_tiny_unet(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture
def home(pack: SimpleNamespace, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ComfyUI's folders, with a checkpoint under two names."""
    paths = pack.host.folder_paths
    for kind in ("characters", "loras", "checkpoints", "vae"):
        (tmp_path / kind).mkdir()
        known = paths.folder_names_and_paths.get(kind, ([], paths.supported_pt_extensions))[1]
        monkeypatch.setitem(paths.folder_names_and_paths, kind, ([str(tmp_path / kind)], known))
    for name in ("tiny.safetensors", "grim.safetensors"):
        (tmp_path / "checkpoints" / name).symlink_to(checkpoint)
    paths.filename_list_cache.clear()
    yield tmp_path
    paths.filename_list_cache.clear()


def person(pack: SimpleNamespace, name: str = "Ada", adult: bool = False, **values: Any) -> Any:
    profile = pack.profile.Profile(name=name, slug=name.lower(), adult=adult, **values)
    return pack.character.Character(profile, None, None, (), ())


def placed(pack: SimpleNamespace, *characters: Any) -> tuple[Any, ...]:
    return tuple(pack.place_character.Placement(c, "everywhere", None, "", {}, None) for c in characters)


def make(pack: SimpleNamespace, **values: Any) -> None:
    pack.projects.new_project(pack.host.library(), "Night City", **{"checkpoint": "tiny.safetensors", **values})


def run(pack: SimpleNamespace, project: str = "night_city", **inputs: Any) -> dict[str, Any]:
    """Outputs by id."""
    node = pack.load_project.LoadProject
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(project, **inputs)
    return {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}


def refused(pack: SimpleNamespace, **inputs: Any) -> str:
    with pytest.raises(pack.errors.LikenessError) as caught:
        run(pack, **inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_everything_that_the_project_draws_with_comes_out(pack: SimpleNamespace, home: Path) -> None:
    write(home / "loras" / "neon.safetensors")
    pack.lora_registry.update_registry(
        pack.host.library(),
        lambda r: pack.lora_registry.changed_entry(r, "neon", {"file": "neon.safetensors", "trigger": "neon glow"}),
    )
    make(pack, loras="neon:0.6", style="night", negative="day", quality="high", sampling={"cfg": 5.0, "width": 640})
    out = run(pack)
    assert pack.host.family_of(out["MODEL"]) == "sd15" and out["MODEL"].patches
    assert (out["style"], out["negative"]) == ("night, neon glow", "day")
    numbers = ("steps", "cfg", "sampler_name", "scheduler", "width", "height", "denoise", "upscale")
    assert [out[k] for k in numbers] == [35, 5.0, "dpmpp_2m", "karras", 640, 768, 1.0, 1.5]
    lines = out["report"].splitlines()
    assert lines[0] == "Night City: tiny.safetensors as the checkpoint of project night_city, no purpose rated general"
    assert "neon.safetensors: model 0.6" in lines and "project night_city: width 640, cfg 5, quality high" in lines
    assert "quality high: steps 35, height 768, upscale 1.5" in lines


def test_what_the_checkpoint_lacks_stops_only_a_node_that_uses_it(pack: SimpleNamespace, home: Path) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    make(pack)
    out = run(pack)
    for part, what in (("CLIP", "text encoder"), ("VAE", "VAE")):
        assert isinstance(out[part], ExecutionBlocker), out[part]
        assert out[part].message == f"tiny.safetensors has no {what}: load one by another node."


def test_a_characters_settings_count_and_its_lora_is_left_to_apply_character(pack: SimpleNamespace, home: Path) -> None:
    write(home / "loras" / "ada.safetensors")
    make(
        pack,
        loras="ada:0.5",
        sampling={"steps": 20, "cfg": 4.0},
        profiles={"p": {"sampling": {"cfg": 3.0}}},
        characters={"ada": "p"},
    )
    settings = pack.profile.BaseSettings(
        loras=(pack.profile.LoraVersion(file="ada.safetensors", version=1),), sampling=pack.profile.Sampling(steps=21)
    )
    ada = person(pack, base={"sd15": settings})
    out = run(pack, character=ada)
    assert (out["steps"], out["cfg"]) == (21, 3.0) and not out["MODEL"].patches
    assert "ada.safetensors: left out" in out["report"]
    assert not run(pack, cast=placed(pack, ada))["MODEL"].patches, "nor of somebody who is placed"
    assert run(pack, character=person(pack, "Bob"))["MODEL"].patches


def test_a_route_is_taken_by_purpose_and_rating(pack: SimpleNamespace, home: Path) -> None:
    route = {"file": "grim.safetensors", "family": "sd15", "purpose": "action", "rating": "mature"}
    make(pack, vae="none.safetensors", routes={"grim": route})
    ada = person(pack, adult=True)
    out = run(pack, character=ada, purpose="Action", rating="mature")
    assert "grim.safetensors as 'grim' of project night_city, 'Action' rated mature" in out["report"]
    assert "The VAE 'none.safetensors' is not in models/vae" in refused(pack, character=ada), (
        "beside its own checkpoint"
    )
    assert "'action' (mature, project night_city)" in refused(pack, character=ada, purpose="portrait")
    assert "rated general" in refused(pack, character=ada, purpose="action")


def test_a_rating_is_refused_unless_everybody_is_an_adult(pack: SimpleNamespace, home: Path) -> None:
    route = {"file": "grim.safetensors", "family": "sd15", "rating": "explicit"}
    make(pack, routes={"grim": route})
    ada, bob = person(pack, adult=True), person(pack, "Bob")
    asked = {"purpose": "grim", "rating": "explicit"}
    assert run(pack, character=ada, cast=placed(pack, ada), **asked)["MODEL"]
    assert "no character is given" in refused(pack, **asked)
    for who in ({"character": bob}, {"character": ada, "cast": placed(pack, ada, bob)}, {"cast": placed(pack, bob)}):
        assert "the profile of 'Bob' does not say `adult = true`" in refused(pack, **who, **asked)
    for rating in ("Explicit", "explicit ", "", "none"):
        assert "is no content rating" in refused(pack, character=ada, purpose="grim", rating=rating)


def test_a_family_that_is_not_the_files_is_told(pack: SimpleNamespace, home: Path) -> None:
    make(pack, family="sdxl")
    out = run(pack)
    assert "warning: it is said to be sdxl, and the file is sd15" in out["report"] and out["width"] == 768


def test_a_lora_of_another_family_is_refused(pack: SimpleNamespace, home: Path) -> None:
    lora_file(home / "loras" / "xl.safetensors", "sdxl")
    make(pack, loras="xl")
    assert "xl.safetensors is a LoRA for sdxl, but the model is sd15" in refused(pack)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"sampling": {"sampler": "eular"}},
            "sampler is 'eular', set by project night_city, which this ComfyUI does n",
        ),
        ({"sampling": {"scheduler": "x"}}, "scheduler is 'x'"),
        ({"checkpoint": "gone.safetensors"}, "The checkpoint 'gone.safetensors' is not in models/checkpoints"),
        ({"checkpoint": None}, "set the project's checkpoint"),
        ({"loras": "nobody:0.5"}, "There is no LoRA 'nobody'"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    pack: SimpleNamespace, home: Path, values: dict[str, Any], told: str
) -> None:
    given = {"checkpoint": "tiny.safetensors", **values}
    pack.projects.new_project(pack.host.library(), "Night City", **{k: v for k, v in given.items() if v is not None})
    assert told in refused(pack)


def test_a_file_that_is_no_vae_is_told(pack: SimpleNamespace, home: Path) -> None:
    shutil.copy(lora_file(home / "loras" / "x.safetensors"), home / "vae" / "x.safetensors")
    make(pack, vae="x.safetensors")
    assert "x.safetensors is no VAE that this ComfyUI knows" in refused(pack)


def test_a_file_that_is_no_checkpoint_is_told(pack: SimpleNamespace, home: Path) -> None:
    shutil.copy(lora_file(home / "loras" / "x.safetensors"), home / "checkpoints" / "x.safetensors")
    make(pack, checkpoint="x.safetensors")
    assert "x.safetensors is no checkpoint that this ComfyUI knows" in refused(pack)


@pytest.mark.parametrize("name", ["../night_city", "/etc/passwd", "", "a\0b", "gone"])
def test_no_project_name_leaves_the_library(pack: SimpleNamespace, home: Path, name: str) -> None:
    make(pack)
    refused(pack, project=name)
    assert pack.load_project.LoadProject.fingerprint_inputs(name)


def test_without_a_project_the_node_says_how_to_make_one(pack: SimpleNamespace, home: Path) -> None:
    combo = pack.load_project.LoadProject.GET_SCHEMA().inputs[0]
    assert combo.options == [pack.load_project.NONE_YET]
    assert "`likeness project new`" in refused(pack, project=pack.load_project.NONE_YET)


def test_an_edited_project_runs_the_node_again(pack: SimpleNamespace, home: Path) -> None:
    stamp = pack.load_project.LoadProject.fingerprint_inputs
    make(pack)
    first = stamp("night_city")
    assert first == stamp("night_city") and stamp(None)
    pack.projects.update_project(
        pack.host.library(), "night_city", lambda p: pack.projects.changed_fields(p, {"loras": "a"})
    )
    second = stamp("night_city")
    write(home / "loras" / "a.safetensors")
    pack.host.folder_paths.filename_list_cache.clear()
    assert len({str(first), str(second), str(stamp("night_city"))}) == 3
