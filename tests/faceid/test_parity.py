"""A few of benchmarks/parity.py's cases: against the published mathematics, and against IPAdapter_plus.

Its pictures are compared live where LIKENESS_IPADAPTER_PLUS names a checkout, else by numbers recorded from it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_adapter import uniform

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from cases import Case, single  # noqa: E402
from parity import TARGET, Bench, cases_of  # noqa: E402
from reference_pack import ReferencePack  # noqa: E402
from support import CHECKOUT, random_vision  # noqa: E402

SD15, PLUS, UNNORM = "FaceID sd15", "Plus V2 sd15", "Portrait unnorm sdxl"
BY_FORMULA = {
    SD15: (),  # every other one
    PLUS: ("plain", "negative image, concat", "combine: identity", "face and weight of each picture", "draw 0"),
    UNNORM: ("weight type: composition precise", "combine: norm average"),
}
# What IPAdapter_plus renders, with the small UNet of comfy_unet.py: the norm of the output, then its products with
# three fixed directions of length 1. Recorded by `python tests/faceid/test_parity.py CHECKOUT`.
RECORDED: dict[str, list[float]] = {
    "plain": [11.72217, 0.1935521, -0.2100012, 0.03503772],
    "weight 0.35, weight_v2 2.5": [12.22697, 0.2656492, -0.1388117, -0.3061906],
    "weight -0.6": [12.16746, 0.7435181, -0.04655679, -0.9680617],
    "weight type: linear": [11.81314, 0.425655, -0.3160566, 0.008720348],
    "weight type: ease in": [12.15319, 0.4888213, -0.3116027, -0.1199424],
    "weight type: ease out": [12.04113, 0.2798302, -0.2010972, -0.2829569],
    "weight type: ease in-out": [12.23413, 0.2559519, -0.2496456, -0.1976669],
    "weight type: reverse in-out": [11.89393, 0.3391778, -0.2605066, -0.1467274],
    "weight type: weak input": [12.03072, 0.2719048, -0.2511522, -0.07466626],
    "weight type: weak output": [12.16459, 0.4109917, -0.3347765, -0.1219176],
    "weight type: weak middle": [11.81314, 0.425655, -0.3160566, 0.008720348],
    "weight type: strong middle": [12.31696, 0.09550452, -0.09879971, -0.353917],
    "weight type: style transfer": [11.75954, 0.2616035, -0.299814, -0.06367045],
    "weight type: composition": [12.19142, 0.3581665, -0.1190527, -0.3474645],
    "weight type: strong style transfer": [11.8082, 0.3666957, -0.2517134, -0.1456468],
    "weight type: style and composition": [11.79419, 0.3094882, -0.306099, -0.05350549],
    "weight type: style transfer precise": [11.68242, 0.3189515, -0.3028404, -0.1085409],
    "weight type: composition precise": [12.21456, 0.5120556, -0.1958235, -0.388526],
    "scaling: V only": [11.81314, 0.425655, -0.3160566, 0.008720348],
    "scaling: K+V": [11.83115, 0.486115, -0.3196672, -0.05821957],
    "scaling: K+V w/ C penalty": [12.27351, 0.2858292, -0.08017136, -0.3813041],
    "scaling: K+mean(V) w/ C penalty": [12.27374, 0.2697323, -0.09798276, -0.3847505],
    "layer weights": [12.2371, 0.6149624, -0.2465775, -0.6241744],
    "layer weights, precise": [12.2371, 0.6149624, -0.2465775, -0.6241744],
    "start 0.2, end 0.7: outside at 0.1": [12.04346, 0.3576012, -0.01644257, -0.6036752],
    "start 0.2, end 0.7: inside at 0.2": [11.77358, 0.3557241, -0.03932765, 0.1265173],
    "start 0.2, end 0.7: inside at 0.5": [11.97919, 0.4624643, -0.2227609, -0.1141404],
    "start 0.2, end 0.7: inside at 0.7": [12.23401, 0.5994522, -0.11159, -0.1141833],
    "start 0.2, end 0.7: outside at 0.9": [11.6928, 0.3661552, -0.2444214, 0.04642785],
    "mask": [11.79525, 0.5330182, -0.1516504, -0.5653059],
    "mask of another aspect ratio": [12.2712, 0.06542796, -0.1121961, 0.2084518],
    "mask, wide latent": [22.68676, 0.07310118, 0.184902, -0.2400848],
    "mask, latent no multiple of 8": [17.02546, -0.7984915, 0.5850285, 0.5999615],
    "mask of each picture": [21.65503, -0.7876715, -1.384892, -0.03102178],
    "three pictures": [21.63621, 0.2031161, -1.139627, -0.3260252],
    "cfg 1": [8.451757, 0.1186147, -0.2923195, -0.09969893],
    "cond first": [17.43547, -0.04261146, -0.5490663, 0.005747756],
    "frame weights, V only": [21.78097, -0.3769835, -1.208171, 0.06091702],
    "frame weights, K+V": [21.73456, -0.503269, -1.214901, 0.1601423],
    "frame weights, K+V w/ C penalty": [21.57946, -0.7831522, -1.297408, 0.3060806],
    "frame weights, K+mean(V) w/ C penalty": [21.59913, -0.7713275, -1.294929, 0.3018288],
    "frame weights, ease out, last repeats": [24.83534, -0.7290999, -1.075368, -0.2753737],
    "face of each picture": [21.73944, 0.309163, -0.8390237, -0.148589],
    "face of each picture, last repeats": [21.5835, 0.5498043, -1.257652, -0.07424584],
    "more faces than pictures": [17.77737, -0.2497955, -0.6511703, -0.05362689],
    "face and weight of each picture": [21.99633, -0.2864911, -0.9550165, 0.2577886],
    "window of a video": [17.66601, -0.04011053, -0.2594272, -0.04974014],
    "combine: average": [12.08549, 0.6088141, -0.004021286, -0.3701309],
    "combine: norm average": [11.87237, 0.7196733, -0.1972169, -0.1090153],
    "combine: add": [12.06826, 0.6762799, -0.1546588, -0.2469416],
    "combine: subtract": [11.60022, 0.4154688, -0.7516484, 0.2343023],
    "combine: concat": [11.94661, 0.6770089, -0.1415181, -0.09672889],
    "subtract of one face": [11.72217, 0.1935521, -0.2100012, 0.03503772],
    "concat, K+mean(V)": [12.26083, 0.2787137, -0.08616716, -0.4071364],
}


def probes(x: torch.Tensor) -> list[float]:
    """Four numbers; the last three change by no more than x does."""
    flat, found = x.double().flatten(), []
    for seed in range(3):
        direction = torch.from_numpy(uniform(seed << 24, len(flat)))
        found.append(float(flat @ direction / direction.norm()))
    return [float(flat.norm()), *found]


@pytest.fixture(scope="module")
def bench(comfy_attention: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bench]:
    vision, folder, made = random_vision(), tmp_path_factory.mktemp("adapters"), {}

    def of(variant: str, pack: ReferencePack | None = None) -> Bench:
        key = (variant, pack is None)
        if key not in made:
            made[key] = Bench(variant, vision, pack, folder)
        return made[key]

    return of


@pytest.mark.parametrize("variant", BY_FORMULA)
def test_the_unet_renders_the_published_mathematics(bench: Callable[..., Bench], variant: str) -> None:
    rows = [bench(variant).compare(case) for case in chosen(variant)]
    assert {row.case.name: (row.published, row.note) for row in rows if row.failed} == {}
    vacuous = [row.case.name for row in rows if row.effect < 20 * TARGET and "outside" not in row.case.name]
    assert vacuous == []


@pytest.mark.parametrize("name", RECORDED)
def test_with_match_the_unet_renders_what_ipadapter_plus_rendered(bench: Callable[..., Bench], name: str) -> None:
    case = recorded_cases()[name]
    at = bench(SD15)
    norm, *expected = RECORDED[name]
    found = probes(at.run(at.ours(case, match_ipadapter_plus=True), case))
    assert found == pytest.approx([norm, *expected], rel=0, abs=TARGET * norm)


@pytest.mark.parametrize("variant", BY_FORMULA)
def test_with_match_the_unet_renders_what_ipadapter_plus_renders(bench: Callable[..., Bench], variant: str) -> None:
    if not (checkout := os.environ.get(CHECKOUT)):
        pytest.skip(f"set {CHECKOUT} to a checkout of cubiq/ComfyUI_IPAdapter_plus")
    at = bench(variant, ReferencePack(Path(checkout)))
    rows = [at.compare(case) for case in chosen(variant)]
    assert sum(row.theirs is not None for row in rows) >= 2
    assert {row.case.name: (row.published, row.theirs, row.note) for row in rows if row.failed} == {}


def chosen(variant: str) -> list[Case]:
    found, wanted = {case.name: case for case in cases_of(variant, 2, 0)}, BY_FORMULA[variant]
    return [found[name] for name in wanted or list(found)[::2]]


def recorded_cases() -> dict[str, Case]:
    return {c.name: c for c in single("sd15", False) if not c.why_not_theirs(plus=False) and not c.stored}


if __name__ == "__main__":
    import tempfile

    import support

    torch.set_num_threads(1)
    support.comfyui()
    at = Bench(SD15, random_vision(), ReferencePack(Path(sys.argv[1])), Path(tempfile.mkdtemp()))
    print("RECORDED: dict[str, list[float]] = {")
    for name, case in recorded_cases().items():
        numbers = ", ".join(f"{x:.7g}" for x in probes(at.run(at.theirs(case), case)))
        print(f'    "{name}": [{numbers}],')
    print("}")
