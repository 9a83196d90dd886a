"""Calibrating and scoring through a real server, with the stand-in face model and the sample's drawings."""

from __future__ import annotations

import shutil

from likeness.library import Library

from ..conftest import ROOT
from .conftest import PHOTOS, Running
from .graph_parts import graph

DRAWN = {"drawn_faces": "measure"}  # the sample is drawn
BETWEEN = 0.52  # the stand-in face model gives .530 to her own picture and .513 to somebody else's


def test_a_calibrated_band_and_a_threshold_by_hand_decide(server: Running) -> None:
    server.run(graph("create_character", **{"LikenessCreateCharacter.name": "Calibrated"}))
    for name in (*PHOTOS, "tomas_reed.png"):
        shutil.copy(ROOT / "sample" / "pictures" / name, server.base / "input" / name)
    result = server.run(
        {
            "1": {"class_type": "LikenessLoadCharacter", "inputs": {"character": "calibrated"}},
            "2": {"class_type": "LikenessCalibrateCharacter", "inputs": {"character": ["1", 0]}},
            "3": {"class_type": "LoadImage", "inputs": {"image": PHOTOS[0]}},
            "4": {"class_type": "LoadImage", "inputs": {"image": "tomas_reed.png"}},
            "5": {"class_type": "LikenessScoreLikeness", "inputs": {"images": ["8", 0], "character": ["2", 0]} | DRAWN},
            "6": {
                "class_type": "LikenessScoreLikeness",
                "inputs": {"images": ["4", 0], "character": ["2", 0], "threshold": BETWEEN} | DRAWN,
            },
            "7": {
                "class_type": "LikenessScoreLikeness",
                "inputs": {"images": ["3", 0], "character": ["2", 0], "threshold": BETWEEN} | DRAWN,
            },
            "9": {
                "class_type": "LikenessConsistencyReport",
                "inputs": {"images": ["3", 0], "scores": ["7", 0], "character": ["2", 0], "title": "Smile"} | DRAWN,
            },
            "8": {"class_type": "LoadImage", "inputs": {"image": "photo_1.png"}},  # a reference
        }
    )
    (stored,) = Library([server.characters]).get("calibrated").calibrations
    assert result.outputs["2"]["likeness_threshold"] == [stored.threshold]
    verdicts = [result.outputs[n]["likeness_scores"][0]["verdict"] for n in "567"]
    assert verdicts == ["accepted", "rejected", "accepted"]
    assert f"Accepted from {stored.threshold:.3f} on (calibrated" in result.outputs["5"]["text"][0]
    assert "also steers FaceID" in result.outputs["5"]["text"][0]
    (page,) = result.outputs["9"]["likeness_report"]
    assert page.startswith("likeness/reports/calibrated/smile_00001") and (server.base / "output" / page).is_file()
    assert (server.base / "output" / page).with_suffix(".json").is_file()
