"""The nodes as ComfyUI sees them, loaded in this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, load_folder

HEAVY = ("onnxruntime", "insightface", "cv2", "scipy.optimize", "likeness_pack.likeness.faces.analyser")
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")

# id of every node -> ids of its inputs and outputs, in order. A change here breaks saved graphs.
INTERFACE = {
    "LikenessCreateCharacter": (
        [
            "images",
            "name",
            "trigger",
            "class_word",
            "description",
            "negative",
            "if_exists",
            "lora",
            "lora_family",
            "face_model",
            "provider",
            "backend",
        ],
        ["CHARACTER", "faces", "report"],
    ),
    "LikenessLoadCharacter": (["character", "lora_version"], ["CHARACTER", "reference", "name"]),
    "LikenessLoadFaceEmbedding": (["face", "name"], ["CHARACTER", "report"]),
    "LikenessBlendCharacters": (
        [f"{kind}_{n}" for n in (1, 2, 3, 4) for kind in ("character", "weight")],
        ["CHARACTER", "report"],
    ),
    "LikenessSaveFaceEmbedding": (["character", "name", "format", "embedding", "if_exists"], ["file"]),
    "LikenessFaceIDOptions": (
        [
            "combine",
            "weight_type",
            "negative",
            "frame_weights",
            "weight_composition",
            "layer_weights",
            "embeds_scaling",
            "plus_v2",
            "match_ipadapter_plus",
        ],
        ["OPTIONS"],
    ),
    "LikenessCompileIdentity": (["character", "family", "adapter", "image_encoder", "options"], ["report"]),
    "LikenessApplyCharacter": (
        ["model", "clip", "character", "strengths", "method", "adapter", "image_encoder", "mask", "options", "sweep"],
        ["MODEL", "CLIP", "report"],
    ),
    "LikenessPlaceCharacter": (["character", "where", "prompt", "strengths", "cast", "options"], ["CAST"]),
    "LikenessApplyCharacters": (
        ["model", "clip", "cast", "prompt", "negative", "share", "adapter", "image_encoder"],
        ["MODEL", "positive", "negative_cond", "report"],
    ),
    "LikenessCharacterPrompt": (["character", "text", "negative"], ["positive", "negative_text"]),
    "LikenessCharacterSampling": (
        ["character", "model", "method", "preset", "adapter"],
        ["steps", "cfg", "sampler_name", "scheduler", "width", "height", "denoise"],
    ),
    "LikenessScoreLikeness": (
        [
            "images",
            "character",
            "face_model",
            "threshold",
            "second_face_model",
            "look_model",
            "drawn_faces",
            "provider",
            "backend",
        ],
        ["SCORES", "mean", "preview", "report", "consistency_rate"],
    ),
    "LikenessGate": (
        ["images", "scores", "when_empty", "threshold", "latents", "masks"],
        [
            "accepted",
            "rejected",
            "not_measurable",
            "accepted_indices",
            "rejected_indices",
            "not_measurable_indices",
            "accepted_count",
            "rejected_count",
            "not_measurable_count",
            "report",
            "accepted_latents",
            "rejected_latents",
            "not_measurable_latents",
            "accepted_masks",
            "rejected_masks",
            "not_measurable_masks",
        ],
    ),
    "LikenessPickBest": (
        ["images", "scores", "k", "among", "avoid_copies", "when_empty", "latents"],
        ["best", "indices", "similarity", "report", "best_latents"],
    ),
    "LikenessSeed": (["seed"], ["seed_out"]),
    "LikenessBestOfN": (
        [
            "images",
            "seed",
            "character",
            "wanted",
            "limit",
            "avoid_copies",
            "when_empty",
            "face_model",
            "threshold",
            "second_face_model",
            "look_model",
            "drawn_faces",
            "provider",
            "backend",
        ],
        ["best", "seeds", "SCORES", "attempts", "report"],
    ),
    "LikenessBestOfNStep": (["run", "images"], ["best", "seeds", "SCORES", "attempts", "report"]),
    "LikenessConsistencyReport": (
        [
            "character",
            "images",
            "scores",
            "folder",
            "title",
            "groups",
            "style_model",
            "face_model",
            "threshold",
            "second_face_model",
            "look_model",
            "drawn_faces",
            "provider",
            "backend",
        ],
        ["report", "consistency_rate", "plot", "path"],
    ),
    "LikenessCalibrateCharacter": (
        ["character", "face_model", "provider", "backend"],
        ["CHARACTER", "threshold", "report"],
    ),
    "LikenessSweepValues": (
        [
            "lora",
            "faceid_weight",
            "faceid_weight_v2",
            "start",
            "lora_files",
            "prompts",
            "seed",
            "seeds",
            "index",
        ],
        [
            "SWEEP",
            "lora",
            "faceid_weight",
            "faceid_weight_v2",
            "start",
            "lora_file",
            "seed_out",
            "prompt",
            "label",
        ],
    ),
    "LikenessTuneStrengths": (
        [
            "image",
            "sweep",
            "character",
            "name",
            "mode",
            "write",
            "family",
            "prompt_bound",
            "variety_bound",
            "clip",
            "clip_vision",
            "face_model",
            "drawn_faces",
            "provider",
            "backend",
        ],
        ["heat_map", "best", "table", "report", "WINNER"],
    ),
    "LikenessSweepRender": (["job", "index", "image", "after"], ["kept"]),
    "LikenessSweepRound": (["job", "family", "model", "after"], ["heat_map", "best", "table", "report", "WINNER"]),
    "LikenessBuildTrainingSet": (
        [
            *("character", "name", "dry_run", "images", "masks", "captions", "folder", "family", "side", "steps"),
            *("shows", "unsure", "caption_from", "group_by", "batch_size", "repeats", "upscale", "alpha", "choices"),
            *("rules", "overwrite", "style_model", "face_model", "threshold", "second_face_model", "look_model"),
            *("drawn_faces", "provider", "backend", "rank", "trigger", "class_word", "target", "tagger"),
            "regular_folder",
        ],
        ["sheet", "report", "plan", "count", "training_set"],
    ),
    "LikenessLoadProject": (
        ["project", "character", "cast", "purpose", "rating"],
        [
            *("MODEL", "CLIP", "VAE", "style", "negative", "steps", "cfg", "sampler_name", "scheduler", "width"),
            *("height", "denoise", "upscale", "report"),
        ],
    ),
    "LikenessLoRAStack": (
        ["model", "stack", "clip", "character", "prompt"],
        ["MODEL", "CLIP", "prompt_out", "report"],
    ),
    "LikenessCharacterVariations": (
        [
            *("character", "mode", "outfit", "background", "pose", "expression", "camera", "light", "text"),
            *("negative", "seed", "seeds", "per_scene", "count", "only", "vary", "keep", "saved_lists", "save_as"),
            *("if_exists", "skip_existing", "most", "filename_prefix"),
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
    "LikenessDetailFace": (
        [
            *("images", "model", "vae", "positive", "negative", "character", "seed", "steps", "cfg"),
            *("sampler_name", "scheduler", "denoise", "faces", "tolerance", "crop_factor", "working_size"),
            *("upscale_limit", "feather", "face_model", "threshold", "second_face_model", "look_model"),
            *("drawn_faces", "provider", "backend"),
        ],
        ["refined", "mask", "SCORES", "BEFORE", "report"],
    ),
    "LikenessFaceMask": (
        ["images", "character", "part", "faces", "grow", "feather", "edit", "face_model", "provider", "backend"],
        ["mask", "rest", "report"],
    ),
    "LikenessLoadTrainingSet": (
        ["training_set", "first", "most"],
        ["images", "captions", "trigger", "steps", "count", "path"],
    ),
    "LikenessRegisterLoRA": (
        [
            *("character", "lora", "output_file", "trained", "family", "trigger", "activate", "name"),
            *("training_set", "steps"),
        ],
        ["CHARACTER", "candidate", "version", "file", "report"],
    ),
    "LikenessCompareVersions": (
        [
            *("present", "candidate", "character", "version", "family", "write", "seeds", "face_model", "threshold"),
            *("second_face_model", "look_model", "drawn_faces", "provider", "backend"),
        ],
        ["CHARACTER", "switched", "rate", "present_rate", "preview", "report"],
    ),
}


@pytest.fixture(scope="module")
def schemas(comfy: Path) -> dict[str, Any]:
    pack = load_folder("likeness_pack", ROOT)

    async def load() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    return {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in asyncio.run(load()))}


def test_ids_of_nodes_inputs_and_outputs_stay(schemas: dict[str, Any]) -> None:
    found = {k: ([i.id for i in s.inputs], [o.id for o in s.outputs]) for k, s in schemas.items()}
    assert found == INTERFACE


def test_every_input_and_output_has_a_tooltip(schemas: dict[str, Any]) -> None:
    without = [
        f"{name}.{part.id}"
        for name, schema in schemas.items()
        for part in [*(i for top in schema.inputs for i in top.get_all()), *schema.outputs]
        if not part.tooltip
    ]
    assert without == []


def test_every_node_has_a_help_page(schemas: dict[str, Any]) -> None:
    assert {p.stem for p in (ROOT / "js" / "docs").glob("*.md")} == set(schemas)


def test_every_node_can_be_found(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        assert name.startswith("Likeness")
        assert schema.category.startswith("likeness/")
        assert "likeness" in schema.search_aliases
        assert schema.description


IMPORT = """
import asyncio, importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
from comfy.cli_args import args
args.cpu = True
import comfy.sd, comfy.samplers, comfy.clip_vision, folder_paths, nodes
import comfy_config.config_parser, safetensors.torch, server  # what ComfyUI loads itself before custom nodes
from comfy_api.latest import io
network, before = [], set(sys.modules)
sys.addaudithook(lambda event, about: network.append(event) if event in sys.argv[3].split(",") else None)
init, folders = sys.argv[2] + "/__init__.py", [sys.argv[2]]
spec = importlib.util.spec_from_file_location("likeness_pack", init, submodule_search_locations=folders)
pack = importlib.util.module_from_spec(spec)
sys.modules["likeness_pack"] = pack
spec.loader.exec_module(pack)
async def load():
    extension = await pack.comfy_entrypoint()
    await extension.on_load()
    return [node.GET_SCHEMA().node_id for node in await extension.get_node_list()]
found = asyncio.run(load())
print(json.dumps({"nodes": len(found), "network": network, "modules": sorted(set(sys.modules) - before)}))
"""


def test_loading_the_pack_imports_nothing_heavy_and_touches_no_network(comfy_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORT, str(comfy_path), str(ROOT), ",".join(NETWORK)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["nodes"] == len(INTERFACE)
    assert told["network"] == []
    assert [m for m in told["modules"] if m.startswith(HEAVY)] == []
    packages = {m for m in told["modules"] if "." not in m} - {"likeness_pack", "tomli"}
    assert packages <= set(sys.stdlib_module_names), "third-party packages that ComfyUI has not loaded itself"
