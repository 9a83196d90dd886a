"""What parity.py compares: one case for every control, and random combinations of several."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

WEIGHT_TYPES = (
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
)
SCALINGS = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")
OWN_COMBINE = ("identity", "weighted")  # which IPAdapter_plus has not
SHARED_COMBINE = ("average", "norm average", "add", "subtract", "concat", "per image")
NEGATIVES = ("", "picture", "face")
Setting = Any


@dataclass(frozen=True)
class Case:
    """One call of the UNet with one identity."""

    name: str
    faces: int = 1  # how many of the recorded ones
    first: int = 0  # number of the first of them
    combine: str = "average"
    face_weights: tuple[float, ...] = ()
    weight_v2: float = 1.5
    controls: dict[str, Setting] = field(default_factory=dict)  # fields of faceid.Controls but weight_v2
    mask: tuple[int, ...] = ()  # (F, H, W) of the mask, () for none
    negative: str = ""  # "picture": IPAdapter_plus's negative image; "face": another face, which it cannot
    images: int = 1  # pictures in the batch
    size: tuple[int, int] = (8, 8)  # of the latent
    order: tuple[int, ...] = (1, 0)  # cond_or_uncond
    percent: float = 0.3  # of the sampling range, for the sigma of the call
    window: tuple[int, ...] = ()  # pictures of the video that are being sampled, AnimateDiff's way
    stored: str = ""  # ours is written and read back with this storage
    others: tuple[Case, ...] = ()  # identities put on the same model after this one

    def mask_tensor(self) -> Tensor | None:
        """float32 [F, H, W]"""
        return _mask(self.mask) if self.mask else None

    @property
    def numbers(self) -> range:
        """Of the recorded faces."""
        return range(self.first, self.first + self.faces)

    @property
    def frames(self) -> bool:
        return self.combine == "per image" or bool(self.controls.get("frame_weights"))

    def why_not_theirs(self, plus: bool) -> str:
        """What IPAdapter_plus cannot do of this case, "" when it can do all of it."""
        if self.faces > 1 and self.combine in OWN_COMBINE:
            return f'has no combine mode "{self.combine}"'
        if self.faces > 1 and self.controls.get("frame_weights") and self.combine != "per image":
            return "has frame weights in its batch node only, which combines no faces"
        if self.controls.get("frame_weights") and self.controls.get("weight_type") == "style and composition":
            return "leaves weight_composition out of the frame weights"
        if self.negative == "face":
            return "has no negative face"
        if self.negative == "picture" and not plus:
            return "ignores the negative image without an image encoder"
        return ""


@cache
def _mask(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    coarse = torch.rand(shape[0], 1, 5, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear")[:, 0]
    return ((smooth - 0.3) * 2.5).clamp(0, 1)


def single(family: str, plus: bool) -> Iterator[Case]:
    """Every control alone."""
    last = 15 if family == "sd15" else 10
    yield Case("plain", controls={"weight": 1.0})
    yield Case("weight 0.35, weight_v2 2.5", controls={"weight": 0.35}, weight_v2=2.5)
    yield Case("weight -0.6", controls={"weight": -0.6})
    for kind in WEIGHT_TYPES:
        yield Case(f"weight type: {kind}", controls=_typed(kind))
    for scaling in SCALINGS:
        yield Case(f"scaling: {scaling}", controls={"weight": 0.8, "embeds_scaling": scaling})
    layers = ((0, 1.0), (3, 0.5), (6, -0.7), (last, 1.4))
    yield Case("layer weights", controls={"weight": 0.8, "layer_weights": layers})
    yield Case("layer weights, precise", controls={**_typed("style transfer precise"), "layer_weights": layers})
    for percent in (0.1, 0.2, 0.5, 0.7, 0.9):
        place = "inside" if 0.2 <= percent <= 0.7 else "outside"
        limits = {"weight": 0.8, "start": 0.2, "end": 0.7}
        yield Case(f"start 0.2, end 0.7: {place} at {percent}", controls=limits, percent=percent)
    yield from _masks()
    yield from _batches()
    for mode in (*OWN_COMBINE, *SHARED_COMBINE[:-1]):
        weights = (1.0, 0.4, 2.0) if mode in OWN_COMBINE else ()
        yield Case(f"combine: {mode}", faces=3, combine=mode, face_weights=weights, controls={"weight": 0.8})
    yield Case("subtract of one face", combine="subtract")
    scaling = {"weight": 0.8, "embeds_scaling": "K+mean(V) w/ C penalty"}
    yield Case("concat, K+mean(V)", faces=3, combine="concat", controls=scaling)
    if plus:
        yield Case("negative image", negative="picture", controls={"weight": 0.8})
        yield Case("negative image, concat", faces=2, combine="concat", negative="picture", controls={"weight": 0.8})
    yield Case("negative face", negative="face", controls={"weight": 0.8})
    yield from _two()
    for storage in ("float24", "float32"):
        yield Case(f"stored as {storage}", stored=storage, controls={"weight": 0.8})


def _typed(kind: str) -> dict[str, Setting]:
    extra = {"weight_composition": 0.45} if kind == "style and composition" else {}
    return {"weight": 0.8, "weight_type": kind, **extra}


def _masks() -> Iterator[Case]:
    weight = {"weight": 0.8}
    yield Case("mask", mask=(1, 64, 64), controls=weight)
    yield Case("mask of another aspect ratio", mask=(1, 90, 40), controls=weight)
    yield Case("mask, wide latent", mask=(1, 64, 64), size=(8, 24), controls=weight)
    yield Case("mask, latent no multiple of 8", mask=(1, 72, 104), size=(9, 13), controls=weight)
    yield Case("mask of each picture", mask=(2, 64, 64), images=3, controls=weight)


def _two() -> Iterator[Case]:
    second = Case("", first=1, weight_v2=0.7, controls={"weight": 0.6})
    yield Case("two identities", others=(second,), controls={"weight": 0.8})
    masked = replace(second, mask=(1, 50, 70))
    yield Case("two identities, each with its mask", others=(masked,), mask=(1, 64, 64), controls={"weight": 0.8})
    late = {**_typed("ease out"), "embeds_scaling": "K+V", "start": 0.25}
    other = replace(second, faces=2, combine="concat", controls=late)
    yield Case("two identities, other controls each", others=(other,), controls={**_typed("composition"), "end": 0.5})


def _batches() -> Iterator[Case]:
    weight = {"weight": 0.8}
    yield Case("three pictures", images=3, controls=weight)
    yield Case("cfg 1", order=(0,), controls=weight)
    yield Case("cond first", order=(0, 1), images=2, controls=weight)
    frames = {**weight, "frame_weights": (0.0, 0.5, 1.0)}
    for scaling in SCALINGS:
        controls = {**frames, "embeds_scaling": scaling}
        yield Case(f"frame weights, {scaling}", images=3, controls=controls)
    controls = {**frames, **_typed("ease out")}
    yield Case("frame weights, ease out, last repeats", images=4, controls=controls)
    yield Case("frame weights, composition", images=3, controls={**frames, **_typed("style and composition")})
    yield Case("face of each picture", faces=3, combine="per image", images=3, controls=weight)
    yield Case("face of each picture, last repeats", faces=2, combine="per image", images=3, controls=weight)
    yield Case("more faces than pictures", faces=3, combine="per image", images=2, controls=weight)
    yield Case("face and weight of each picture", faces=3, combine="per image", images=3, controls=frames)
    window = {**frames, "frame_weights": (0.1, 0.4, 0.9, 1.3)}
    masked = (4, 64, 64)
    yield Case("window of a video", faces=3, combine="per image", images=2, controls=window, mask=masked, window=(2, 3))


def draw(number: int, seed: int, family: str, plus: bool) -> Case:
    """A random combination; the same for the same number, seed and variant."""
    rng = random.Random(f"{seed} {number} {family} {plus}")
    faces = rng.choice((1, 1, 2, 3))
    mode = rng.choice((*OWN_COMBINE, *SHARED_COMBINE))
    images = rng.choice((1, 1, 2, 3))
    controls: dict[str, Setting] = {
        "weight": round(rng.uniform(-0.5, 2.0), 3),
        "weight_type": rng.choice(WEIGHT_TYPES),
        "weight_composition": round(rng.uniform(0, 1.5), 3),
        "embeds_scaling": rng.choice(SCALINGS),
    }
    if rng.random() < 0.3:
        last = 15 if family == "sd15" else 10
        chosen = sorted(rng.sample(range(last + 1), rng.randint(1, 6)))
        controls["layer_weights"] = tuple((t, round(rng.uniform(-1, 2), 3)) for t in chosen)
    if rng.random() < 0.3:
        controls["frame_weights"] = tuple(round(rng.uniform(0, 1.5), 3) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.3:
        controls["start"], controls["end"] = sorted((round(rng.random(), 3), round(rng.random(), 3)))
    percent = rng.uniform(controls.get("start", 0.0), controls.get("end", 1.0))
    if rng.random() < 0.1:  # seldom outside of its window, where nothing can differ
        percent = rng.random()
    masked = rng.random() < 0.4
    mask = (rng.choice((1, 1, 2)), rng.choice((40, 64, 77)), rng.choice((40, 64, 120))) if masked else ()
    return Case(
        f"draw {number}",
        faces=faces,
        combine=mode,
        face_weights=tuple(round(rng.uniform(0.2, 2), 3) for _ in range(faces)) if mode in OWN_COMBINE else (),
        weight_v2=round(rng.uniform(0, 3), 3),
        controls=controls,
        mask=mask,
        negative=rng.choice(NEGATIVES) if rng.random() < 0.5 else "",
        images=images,
        size=rng.choice(((8, 8), (8, 16), (16, 8), (12, 20), (9, 13))),
        order=rng.choice(((1, 0), (1, 0), (0, 1), (0,))),
        percent=min(max(percent, 0.01), 0.99),
    )


def comparable(case: Case) -> Case:
    """The nearest case that IPAdapter_plus can do, so that draws compare with it more often."""
    if case.faces > 1 and case.controls.get("frame_weights") and case.combine != "per image":
        case = replace(case, combine="per image", face_weights=())
    if case.faces > 1 and case.combine in OWN_COMBINE:
        case = replace(case, combine="average", face_weights=())
    return replace(case, negative="") if case.negative == "face" else case
