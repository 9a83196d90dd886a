"""musubi-tuner's own loader and parsers, and the sources of ai-toolkit and OneTrainer, agree with what we write."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

from likeness.dataset.buckets import Shape, buckets_of
from likeness.dataset.configs.ai_toolkit import ROWS
from likeness.dataset.plan import Wish
from likeness.dataset.presets import PRESETS, schedule_of

from .sets import make_set
from .trainer import Trainer

ARCHITECTURES = {"z_image": "zi", "qwen_image": "qi", "flux2": "f2d", "wan": "wan", "hunyuan_video": "hv"}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_musubi_reads_a_set_as_it_was_planned(musubi: Trainer, tmp_path: Path, family: str) -> None:
    plan, _, folder = make_set(tmp_path / "é 'x'", wish=Wish(family=family, steps=50, batch=2))
    seen = musubi.ask("read_musubi.py", {"config": str(folder / "musubi.toml"), "architecture": ARCHITECTURES[family]})
    own = {i.stem: i for i in plan.items}
    assert {Path(i["path"]).stem for i in seen["images"]} == set(own)
    for image in seen["images"]:
        item = own[Path(image["path"]).stem]
        assert (image["caption"], image["repeats"]) == (item.caption, item.repeats)
        assert tuple(image["size"]) == (item.bucket_width, item.bucket_height) and image["as_it_is"]
        assert image["cache"] == str(folder / "cache" / str(item.repeats))
    assert (seen["steps"], seen["samples"]) == (schedule_of(plan).steps_per_epoch, plan.samples)
    assert {p.suffix for p in (folder / "img").rglob("*") if p.is_file()} == {".png", ".txt"}


@pytest.mark.parametrize("family", [p.family for p in PRESETS.values() if p.trainer == "musubi-tuner"])
def test_every_key_of_a_training_config_is_an_option_of_musubis_script(
    musubi: Trainer, tmp_path: Path, family: str
) -> None:
    _, _, folder = make_set(tmp_path, wish=Wish(family=family))
    script = f"musubi_tuner.{PRESETS[family].script.removesuffix('.py')}"
    question = {"script": script, "configs": [str(folder / "musubi_train.toml")], "files": PRESETS[family].files}
    (told,) = musubi.ask("parse_config.py", question)
    assert (told["unknown"], told["wrong"]) == ([], {}) and told["keys"] > 25


def options_of(tree: ast.Module, name: str) -> set[str]:
    """What a class reads by `kwargs.get("...")`."""
    (cls,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name)
    return {
        call.args[0].value
        for call in ast.walk(cls)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "get"
        if call.args and isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux", "chroma", "flux2", "qwen_image", "z_image", "wan"])
def test_every_key_for_ai_toolkit_is_one_that_it_reads(ai_toolkit: Path, tmp_path: Path, family: str) -> None:
    yaml = pytest.importorskip("yaml")
    plan, _, folder = make_set(tmp_path, alpha=True, regular=2, wish=Wish(family=family))
    config = yaml.safe_load((folder / "ai_toolkit.yaml").read_text("utf-8"))
    (job,) = config["config"]["process"]
    tree = ast.parse((ai_toolkit / "toolkit" / "config_modules.py").read_text("utf-8"))
    classes = {"network": "NetworkConfig", "save": "SaveConfig", "train": "TrainConfig", "model": "ModelConfig"}
    for part, name in {**classes, "sample": "SampleConfig"}.items():
        assert set(job[part]) <= options_of(tree, name), part
    for data in job["datasets"]:
        assert set(data) <= options_of(tree, "DatasetConfig")
    assert [Path(d["folder_path"]).is_dir() for d in job["datasets"]] == [True] * 4
    assert sum(d["num_repeats"] for d in job["datasets"][:3]) == 3 + 2 + 7 and job["datasets"][3]["is_reg"]
    assert all(type(v) is float for v in (job["train"]["lr"], job["network"]["linear_alpha"]))
    assert job["trigger_word"] == plan.trigger


def test_the_models_are_called_as_ai_toolkit_calls_them(ai_toolkit: Path) -> None:
    known = {line for p in ai_toolkit.rglob("*.py") for line in p.read_text("utf-8", "replace").splitlines()}
    text = "\n".join(line for line in known if "arch" in line.lower())
    assert all(f"'{row.arch}'" in text or f'"{row.arch}"' in text for row in ROWS.values())


@pytest.mark.parametrize("side", [512, 768, 1024])
def test_ai_toolkit_takes_our_buckets_as_they_are(ai_toolkit: Path, side: int) -> None:
    spec = importlib.util.spec_from_file_location("ai_toolkit_buckets", ai_toolkit / "toolkit" / "buckets.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for bucket in buckets_of(Shape.of(side)):
        taken = module.get_bucket_for_image_size(bucket.width, bucket.height, resolution=side, divisibility=64)
        assert (taken["width"], taken["height"]) == (bucket.width, bucket.height)


def test_every_key_for_onetrainer_is_one_that_it_reads(onetrainer: Path, tmp_path: Path) -> None:
    _, _, folder = make_set(tmp_path, regular=3)
    concepts = json.loads((folder / "onetrainer_concepts.json").read_bytes().decode("ascii"))
    source = (onetrainer / "modules" / "util" / "config" / "ConceptConfig.py").read_text("utf-8")
    known = {
        cls.name: {
            call.args[0].elts[0].value: ast.unparse(call.args[0].elts[2])
            for call in ast.walk(cls)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "data.append"
        }
        for cls in ast.parse(source).body
        if isinstance(cls, ast.ClassDef)
    }
    assert "config_version=2" in source
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict}
    for concept in concepts:
        for part, name in (
            (concept, "ConceptConfig"),
            (concept["image"], "ConceptImageConfig"),
            (concept["text"], "ConceptTextConfig"),
        ):
            assert set(part) - {"__version"} <= set(known[name])
            assert all(type(v) is kinds.get(known[name].get(k), type(v)) for k, v in part.items())
        assert Path(concept["path"]).is_dir() and concept["__version"] == 2
    own = [c for c in concepts if c["type"] == "STANDARD"]
    assert sorted(c["balancing"] for c in own) == [2.0, 3.0, 7.0] and len(concepts) == len(own) + 1
