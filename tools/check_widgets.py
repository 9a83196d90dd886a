"""Starts a ComfyUI with stand-in models and runs tools/check_widgets.mjs on it.

    python tools/check_widgets.py [--many 1000] [--only PARTS] [--shots DIR] [--front-end-root STATIC]

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import harness
from harness import SAMPLE, SLUG

from likeness.cli.graphs import ApiGraph, Files, Overrides
from likeness.cli.graphs_tune import Sweep, tune, tune_node

JUDGING = {"face_model": "standin", "drawn_faces": "measure"}


def main() -> int:
    parser = harness.options(__doc__, many=True)
    parser.add_argument("--only", help="some of picker, scores, training, tuner, settings, with commas between")
    given = parser.parse_args()

    def prepare(base: Path) -> harness.Words:
        _pictures(base / "input")
        (base / "models" / "characters").mkdir(parents=True)
        for name, made in (("scores", scores_graph()), ("training", training_graph()), ("tune", tune_graph())):
            (base / f"{name}.json").write_text(json.dumps(made), encoding="utf-8")
        words: harness.Words = ["--base", base, "--sample", SAMPLE / "characters" / SLUG, "--many", given.many]
        return words + (["--only", given.only] if given.only else [])

    return harness.drive("check_widgets.mjs", given, prepare)


def _pictures(folder: Path) -> None:
    """Two photos of her, one of somebody else; all in one folder, too, one of them twice."""
    found = sorted(harness.REFERENCES.glob("*.png"))[:2]
    named = [("ada_1.png", found[0]), ("ada_2.png", found[1]), ("ben.png", SAMPLE / "pictures" / "tomas_reed.png")]
    (folder / "photos").mkdir(parents=True)
    for name, path in [*named, ("twice.png", found[0])]:
        shutil.copy(path, folder / "photos" / name)
    for name, path in named:
        shutil.copy(path, folder / name)


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def scores_graph() -> ApiGraph:
    """Three pictures that are scored, split, picked from and reported on."""
    scores, pictures = ["7", 0], ["6", 0]
    return {
        "1": _node("LikenessLoadCharacter", character=SLUG, lora_version=0),
        "2": _node("LoadImage", image="ada_1.png"),
        "3": _node("LoadImage", image="ada_2.png"),
        "4": _node("LoadImage", image="ben.png"),
        "5": _node("ImageBatch", image1=["2", 0], image2=["3", 0]),
        "6": _node("ImageBatch", image1=["5", 0], image2=["4", 0]),
        "7": _node("LikenessScoreLikeness", images=pictures, character=["1", 0], **JUDGING),
        "8": _node("LikenessGate", images=pictures, scores=scores, when_empty="placeholder", threshold=0.999),
        "9": _node("LikenessPickBest", images=pictures, scores=scores, k=1, when_empty="placeholder"),
        "10": _node("LikenessConsistencyReport", character=["1", 0], images=pictures, scores=scores, **JUDGING),
        "11": _node("PreviewImage", images=["8", 1]),
        "12": _node("PreviewImage", images=["9", 0]),
    }


def training_graph() -> ApiGraph:
    """A plan for the folder of photos; nothing is written."""
    return {
        "1": _node("LikenessLoadCharacter", character=SLUG, lora_version=0),
        "2": _node("LikenessBuildTrainingSet", character=["1", 0], name="set", folder="photos", upscale=2.0, **JUDGING),
    }


def tune_graph() -> ApiGraph:
    """A small sweep; stand-ins draw too smoothly to be measured, so each picture is laid over a photo."""
    values = {"lora": "", "faceid_weight": "0.2,0.6,1", "faceid_weight_v2": "", "start": "0,0.3", "seeds": 2}
    sweep = Sweep({**values, "prompts": "in a park"}, {"name": "browser", **JUDGING})
    nodes = tune(Files("standin_sd15.ckpt", SLUG), sweep, Overrides(1, 128, 128))
    given = nodes[tune_node(nodes)]["inputs"]
    nodes["90"] = _node("LoadImage", image="ada_2.png")
    laid = {"image1": given["image"], "image2": ["90", 0], "blend_factor": 0.6, "blend_mode": "normal"}
    nodes["91"] = _node("ImageBlend", **laid)
    given["image"] = ["91", 0]
    return nodes


if __name__ == "__main__":
    sys.exit(main())
