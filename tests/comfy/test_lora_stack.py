"""LoRA Stack on a real model of ComfyUI, in this process."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ..conftest import ROOT, load_folder
from ..lora_files import CORE, lora_file, weights
from ..tiny_unet import write_tiny_unet

NAMES = (
    "nodes.lora_stack",
    "nodes.host",
    "likeness.errors",
    "likeness.lora_registry",
    "likeness.profile",
    "likeness.character",
    "likeness.shared_files",
)
KEY = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_stack_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_stack_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture(scope="module")
def model(comfy: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(write_tiny_unet(tmp_path_factory.mktemp("unet") / "unet.safetensors")))


@pytest.fixture
def home(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ComfyUI's folders."""
    paths = pack.host.folder_paths
    for kind in ("characters", "loras"):
        (tmp_path / kind).mkdir()
        known = paths.folder_names_and_paths.get(kind, ([], paths.supported_pt_extensions))[1]
        monkeypatch.setitem(paths.folder_names_and_paths, kind, ([str(tmp_path / kind)], known))
    paths.filename_list_cache.clear()
    pack.lora_stack._open_files.clear()
    yield tmp_path
    paths.filename_list_cache.clear()


def write(path: Path, seed: int = 1, up: float = 1.0) -> Path:
    """A LoRA of ComfyUI's own trainer for one layer of the tiny UNet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = weights(seed=seed, stem=CORE)
    tensors[f"{CORE}.lora_up.weight"] *= np.float16(up)
    save_file(tensors, path)
    return path


def run(pack: SimpleNamespace, model: Any, stack: str, **inputs: Any) -> dict[str, Any]:
    """Outputs by id."""
    node = pack.lora_stack.LoraStack
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(model, stack, **inputs)
    return {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}


def patched(model: Any) -> torch.Tensor:
    """The weight that the LoRAs change, with them on it."""
    import comfy.lora

    weight = model.model.state_dict()[KEY].float()
    return comfy.lora.calculate_weight(model.patches.get(KEY, []), weight.clone(), KEY)


def added(seed: int) -> torch.Tensor:
    """What a file of `write` adds at strength 1: up @ down * alpha / rank."""
    w = {k.removeprefix(f"{CORE}."): torch.from_numpy(v).float() for k, v in weights(seed=seed, stem=CORE).items()}
    return w["lora_up.weight"] @ w["lora_down.weight"] * (float(w["alpha"]) / 4)


def register(pack: SimpleNamespace, **values: Any) -> None:
    name = values.pop("name")
    pack.lora_registry.update_registry(pack.host.library(), lambda r: pack.lora_registry.changed_entry(r, name, values))


def test_the_weights_are_the_models_and_each_loras_share(pack: SimpleNamespace, home: Path, model: Any) -> None:
    write(home / "loras" / "a.safetensors", 1)
    write(home / "loras" / "sub" / "b.safetensors", 2)
    before = patched(model)
    out = run(pack, model, "a:0.7, <lora:b:-0.5>")
    assert torch.allclose(patched(out["MODEL"]), before + 0.7 * added(1) - 0.5 * added(2), atol=1e-3)
    assert torch.equal(patched(model), before) and not model.patches, "the incoming model stays as it is"
    assert out["report"] == "a.safetensors: model 0.7\nsub/b.safetensors: model -0.5"


def test_it_is_the_same_as_cores_loader(pack: SimpleNamespace, home: Path, model: Any) -> None:
    import comfy.sd
    import comfy.utils

    path = write(home / "loras" / "a.safetensors", 3)
    core, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(path)), 0.6, 0.6)
    assert torch.equal(patched(run(pack, model, "a:0.6")["MODEL"]), patched(core))


def test_names_strengths_and_triggers_come_from_the_registry(pack: SimpleNamespace, home: Path, model: Any) -> None:
    write(home / "loras" / "files" / "x_v3.safetensors")
    register(pack, name="harbour", file="files/x_v3.safetensors", trigger="porto town", strength=0.4, family="sd15")
    out = run(pack, model, "Harbour", prompt="ada, in the rain")
    assert out["report"] == "files/x_v3.safetensors: model 0.4"
    assert out["prompt_out"] == "ada, in the rain, porto town"
    assert run(pack, model, "harbour", prompt="Porto Town")["prompt_out"] == "Porto Town"


def test_an_empty_stack_changes_nothing(pack: SimpleNamespace, home: Path, model: Any) -> None:
    out = run(pack, model, "", prompt="as it is ,")
    assert out["MODEL"] is model and out["prompt_out"] == "as it is ," and "empty" in out["report"]


def test_without_a_text_encoder_only_a_node_that_uses_it_stops(pack: SimpleNamespace, home: Path, model: Any) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    write(home / "loras" / "a.safetensors")
    clip = run(pack, model, "a")["CLIP"]
    assert isinstance(clip, ExecutionBlocker) and "connect its clip" in clip.message


def test_a_lora_that_changes_nothing_is_told(pack: SimpleNamespace, home: Path, model: Any) -> None:
    write(home / "loras" / "zero.safetensors", up=0.0)
    lora_file(home / "loras" / "elsewhere.safetensors")  # of a block that the tiny UNet does not have
    write(home / "loras" / "good.safetensors")
    report = run(pack, model, "zero, elsewhere, good")["report"]
    assert "warning: zero.safetensors changes nothing, because every number that it would add is 0" in report
    assert "warning: elsewhere.safetensors changes nothing, because none of its keys fits the model" in report
    assert "warning: good" not in report
    out = run(pack, model, "good:0")
    assert out["MODEL"] is model and out["report"] == "good.safetensors: strength 0, left out"


def test_another_base_family_is_refused_by_registry_and_by_file(pack: SimpleNamespace, home: Path, model: Any) -> None:
    lora_file(home / "loras" / "xl.safetensors", "sdxl")
    write(home / "loras" / "a.safetensors")
    with pytest.raises(pack.errors.LoraError, match=r"xl\.safetensors is a LoRA for sdxl, but the model is sd15"):
        run(pack, model, "a, xl:0.5")
    register(pack, name="a", file="a.safetensors", family="flux")
    with pytest.raises(pack.errors.LoraError, match="'a' is a LoRA for flux, but the model is sd15"):
        run(pack, model, "a")


@pytest.mark.parametrize(
    "stack", ["../../secret", "/etc/passwd:1", "..\\secret", "secret", "x" * 5000, "<lora:../a:1>"]
)
def test_no_name_leaves_the_lora_folder(pack: SimpleNamespace, home: Path, model: Any, stack: str) -> None:
    write(home / "secret.safetensors")
    write(home / "loras" / "a.safetensors")
    with pytest.raises(pack.errors.LoraError) as caught:
        run(pack, model, stack)
    assert "\n" not in str(caught.value) and str(home) not in str(caught.value)


def test_a_damaged_file_is_told(pack: SimpleNamespace, home: Path, model: Any) -> None:
    data = write(home / "loras" / "a.safetensors").read_bytes()
    (home / "loras" / "a.safetensors").write_bytes(data[:-100])
    with pytest.raises(pack.errors.LoraError, match=r"a\.safetensors is cut short"):
        run(pack, model, "a")


def test_a_broken_registry_is_told_and_does_not_break_the_graph(pack: SimpleNamespace, home: Path, model: Any) -> None:
    pack.shared_files.shared_write(pack.host.library(), "loras", "", b"[[loras]")
    with pytest.raises(pack.errors.ProfileError, match=r"loras\.toml: not valid TOML"):
        run(pack, model, "a")
    assert pack.lora_stack.LoraStack.fingerprint_inputs(stack=None)


# ---- the character's own LoRA


def ada(pack: SimpleNamespace, *files: str, active: int = 1, method: str = "auto") -> Any:
    versions = tuple(
        pack.profile.LoraVersion(file=file, version=n, active=n == active) for n, file in enumerate(files, 1)
    )
    base = {"sd15": pack.profile.BaseSettings(loras=versions, method=method)}
    return pack.character.Character(pack.profile.Profile(name="Ada", slug="ada", base=base), None, None, (), ())


def test_the_characters_own_lora_does_not_act_twice(pack: SimpleNamespace, home: Path, model: Any) -> None:
    for n in (1, 2):
        write(home / "loras" / "ada" / f"ada_v{n}.safetensors", n)
    write(home / "loras" / "b.safetensors", 3)
    character = ada(pack, "ada/ada_v1.safetensors", "ada/ada_v2.safetensors")
    register(pack, name="her", file="ada/ada_v1.safetensors", trigger="adaray")
    out = run(pack, model, "her:0.7, b:0.5", character=character, prompt="x")
    assert torch.allclose(patched(out["MODEL"]), patched(model) + 0.5 * added(3), atol=1e-3)
    assert "ada/ada_v1.safetensors: left out, it is Ada's own LoRA, which Apply Character puts on" in out["report"]
    assert out["prompt_out"] == "x", "its trigger comes from Character Prompt"
    other = run(pack, model, "ada_v2", character=character)
    assert "note: ada/ada_v2.safetensors is version 2 of Ada's own LoRA; version 1 acts, too" in other["report"]
    assert torch.allclose(patched(other["MODEL"]), patched(model) + added(2), atol=1e-3)


def test_a_lora_that_apply_character_does_not_put_on_is_not_left_out(
    pack: SimpleNamespace, home: Path, model: Any
) -> None:
    write(home / "loras" / "a.safetensors")
    for character in (ada(pack, "a.safetensors", active=0), ada(pack, "a.safetensors", method="faceid_only")):
        assert run(pack, model, "a:0.5", character=character)["report"] == "a.safetensors: model 0.5"
    gone = ada(pack, "gone.safetensors")
    assert run(pack, model, "a:0.5", character=gone)["report"] == "a.safetensors: model 0.5"


# ---- files


def test_a_file_is_read_once_and_again_when_it_was_replaced(
    pack: SimpleNamespace, home: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils

    reads: list[str] = []
    real = comfy.utils.load_torch_file
    monkeypatch.setattr(
        pack.lora_stack.comfy.utils, "load_torch_file", lambda path, **k: (reads.append(path), real(path, **k))[1]
    )
    path = write(home / "loras" / "a.safetensors", 1)
    stamp = pack.lora_stack.LoraStack.fingerprint_inputs()
    for _ in range(3):
        first = run(pack, model, "a")
    assert len(reads) == 1
    write(path, 2, up=2.0)
    second = run(pack, model, "a")
    assert len(reads) == 2 and not torch.equal(patched(first["MODEL"]), patched(second["MODEL"]))
    assert pack.lora_stack.LoraStack.fingerprint_inputs() != stamp


def test_open_files_have_a_bound(
    pack: SimpleNamespace, home: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        write(home / "loras" / f"{n}.safetensors", n)
        run(pack, model, f"{n}.safetensors")
    assert len(pack.lora_stack._open_files) == 8
    monkeypatch.setattr(pack.lora_stack, "_KEPT_BYTES", 1)
    out = run(pack, model, "0.safetensors")
    assert pack.lora_stack._open_files == {} and "0.safetensors: model 1" in out["report"]


def test_the_registry_runs_the_node_again(pack: SimpleNamespace, home: Path) -> None:
    write(home / "loras" / "a.safetensors")
    first = pack.lora_stack.LoraStack.fingerprint_inputs()
    register(pack, name="x", file="a.safetensors")
    assert pack.lora_stack.LoraStack.fingerprint_inputs() != first


def test_a_user_can_stop_between_two_files(
    pack: SimpleNamespace, home: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    write(home / "loras" / "a.safetensors")
    monkeypatch.setattr(pack.lora_stack.host, "stop_if_interrupted", stop)
    with pytest.raises(Stopped):
        run(pack, model, "a")


def test_eight_bit_numbers_can_be_looked_through(pack: SimpleNamespace) -> None:
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.int8):
        assert pack.lora_stack._any(torch.ones(3).to(dtype)) and not pack.lora_stack._any(torch.zeros(3).to(dtype))
