"""Writes the example graphs and their thumbnails.

python tools/build_workflows.py            api_graphs/*.json, and thumbnails for example_workflows/
python tools/check_editor.py build         then example_workflows/*.json, through the real editor
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from likeness import images
from likeness.cli import graphs
from likeness.cli.graphs_score import best_of_n
from likeness.cli.graphs_tune import Sweep, tune
from likeness.faces.face import Face, Pose, Quality
from likeness.render import labelled
from likeness.scoring import FaceScore, Score

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample"
GRAPHS = {
    "create_character": graphs.create_character(),
    "portrait": graphs.portrait(),
    "lora_faceid_score": graphs.lora_faceid_score(),
    "two_characters": graphs.two_characters(),
    "best_of_n": best_of_n(),
    "tune_strengths": tune(graphs.Files(), Sweep(), graphs.Overrides()),
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


def write_thumbnails(folder: Path) -> None:
    """Pictures of the sample character, so that the template browser shows what a graph is about."""
    references = [images.read(p) for p in sorted((SAMPLE / "characters" / "mara_voss" / "references").glob("*.png"))]
    smile = images.read(SAMPLE / "pictures" / "mara_voss_4_smile.png")
    sheet = np.vstack([np.hstack(references[:2]), np.hstack(references[2:4])])
    scored = labelled(smile, _sample_score())
    quarter = smile.shape[1] // 4
    other = images.read(SAMPLE / "pictures" / "tomas_reed.png")
    pair = np.hstack([picture[:, quarter:-quarter] for picture in (references[0], other)])
    titles = (
        "1 Create a character",
        "2 Portrait from cached identity",
        "3 LoRA and FaceID with score",
        "4 Two characters in one picture",
    )
    for title, picture in zip(titles, (sheet, references[0], scored, pair), strict=True):
        small = Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        small.save(folder / f"{title}.jpg", "JPEG", quality=85, optimize=True)


if __name__ == "__main__":
    write_api(ROOT / "api_graphs")
    write_thumbnails(ROOT / "example_workflows")
