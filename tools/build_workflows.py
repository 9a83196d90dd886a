"""Writes the example graphs and their thumbnails.

python tools/build_workflows.py            api_graphs/*.json, and thumbnails for example_workflows/
python tools/check_editor.py build         then example_workflows/*.json, through the real editor
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import thumbnails
from PIL import Image

from likeness import images
from likeness.cli import graphs, graphs_models, graphs_pictures, graphs_scenes
from likeness.cli.graphs_score import best_of_n
from likeness.cli.graphs_train import compare_shown, train_lora, training_set
from likeness.cli.graphs_tune import SHOWN, tune
from likeness.faces.face import Face, Pose, Quality
from likeness.images import RGB8
from likeness.render import labelled
from likeness.scoring import FaceScore, Score
from likeness.sweep.heat_map import heat_map
from likeness.sweep.plan import plan_of
from likeness.sweep.score import Bounds, Findings, Measured, judge_sweep

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample"
GRAPHS = {
    "create_character": graphs.create_character(),
    "portrait": graphs.portrait(),
    "lora_faceid_score": graphs.lora_faceid_score(),
    "two_characters": graphs.two_characters(),
    "best_of_n": best_of_n(),
    "tune_strengths": tune(graphs.Files(), SHOWN, graphs.Overrides()),
    "training_set": training_set(),
    "train_lora": train_lora(),
    "compare_versions": compare_shown(),
    "quick_faceid": graphs_pictures.quick_faceid(),
    **{name: graphs_scenes.varied(name) for name in graphs_scenes.VARIATIONS},
    **{f"controlnet_{kind}": graphs_pictures.controlnet(kind) for kind in graphs_pictures.CONTROLS},
    "base_images": graphs_scenes.base_images(),
    "base_to_character": graphs_scenes.base_to_character(),
    "character_sheet": graphs_scenes.character_sheet(),
    "score_gate": graphs_pictures.score_gate(),
    "upscale": graphs_pictures.upscale(),
    "inpaint": graphs_pictures.inpaint(),
    "sdxl": graphs_models.sdxl(),
    "flux2": graphs_models.flux2(),
    "wan_video": graphs_models.wan_video(),
}
SIZE = 400  # px, square


def write_api(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, graph in GRAPHS.items():
        (folder / f"{name}.json").write_text(json.dumps(graph, indent=2) + "\n", encoding="utf-8")


def _sample_score() -> Score:
    """What Score Likeness says of the smiling picture, without a frame."""
    nowhere = np.zeros(4, np.float32)
    unknown = Face(nowhere, np.zeros((5, 2), np.float32), 0.0, nowhere, None, Pose(0, 0, 0), Quality(0, 0, 0, 0), "")
    face = FaceScore(unknown, 0.739, "references/001.png", 0.662, "accepted", "")
    return Score("smile", "accepted", "", (), face)


def _sample_heat_map() -> RGB8:
    """A made-up sweep: likeness rises with both strengths and falls where they are too much."""
    plan = plan_of({"lora": "0.4:1.0:4", "faceid_weight": "0.4:1.0:4"}, seeds=1)
    found = {}
    for render in plan.renders:
        lora, face = (float(value) for _, value in render.cell.values)
        found[render.stem] = Measured(0.62 - 0.9 * (lora - 0.75) ** 2 - 0.5 * (face - 0.85) ** 2)
    return heat_map(judge_sweep(plan, Findings(found), Bounds(), full=True))


def _square(picture: RGB8) -> RGB8:
    """The picture in the middle of a white square."""
    side = max(picture.shape[:2])
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = ((side - length) // 2 for length in picture.shape[:2])
    square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return square


def write_thumbnails(folder: Path) -> None:
    """Pictures of the sample character, so that the template browser shows what a graph is about."""
    references = [images.read(p) for p in sorted((SAMPLE / "characters" / "mara_voss" / "references").glob("*.png"))]
    smile = images.read(SAMPLE / "pictures" / "mara_voss_4_smile.png")
    sheet = np.vstack([np.hstack(references[:2]), np.hstack(references[2:4])])
    scored = np.asarray(Image.fromarray(_square(labelled(smile, _sample_score()))).resize(smile.shape[1::-1]))
    quarter = smile.shape[1] // 4
    other = images.read(SAMPLE / "pictures" / "tomas_reed.png")
    pair = np.hstack([picture[:, quarter:-quarter] for picture in (references[0], other)])
    titles = (
        "01 Create a character",
        "02 Portrait from cached identity",
        "03 LoRA and FaceID with score",
        "04 Two characters in one picture",
        "05 Best of N seeds",
        "06 Tune the strengths",
        "07 Photos to a training set",
        "08 Train and register a LoRA",
        "09 Compare two versions",
    )
    tried = np.vstack([np.hstack([references[1], other]), np.hstack([other, scored])])
    crops = [np.asarray(Image.fromarray(p).crop((64, 32, 448, 416))) for p in (*references[:4], smile)]
    small = np.vstack([np.hstack(crops[:2]), np.hstack([crops[2], crops[4]])])
    pictures = (
        *(sheet, references[0], scored, pair, tried, _square(_sample_heat_map())),
        *(small, smile, _square(np.hstack([references[0], smile]))),
    )
    drawn = {**dict(zip(titles, pictures, strict=True)), **thumbnails.pictures()}
    for title, picture in drawn.items():
        small = Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        small.save(folder / f"{title}.jpg", "JPEG", quality=85, optimize=True)


if __name__ == "__main__":
    write_api(ROOT / "api_graphs")
    write_thumbnails(ROOT / "example_workflows")
