"""The estimate of CLIP's tokens against the real tokenizer: rather too many than too few."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest

from likeness.cli.comfy import find_comfy
from likeness.dataset.caption_tokens import LIMIT, estimate_tokens
from likeness.dataset.captions import Style, caption_of
from likeness.dataset.plan import Angle, Expression, Facts, Framing, Light, Tilt

from .pictures import ADA

PROSE = (
    "A photograph of ohwx woman standing in front of a weathered brick wall, her arms crossed and her gaze steady.",
    "ohwx woman laughs at something outside the frame while afternoon sunlight falls through the venetian blinds.",
    "Close-up of ohwx woman with rain on her raincoat, neon signs reflected in the puddles of an alley behind her.",
    "ohwx woman reads a newspaper at the breakfast table; steam rises from a porcelain cup, the kitchen is cluttered.",
    "Seen from below, ohwx woman climbs a ladder in a library whose shelves disappear in darkness, dust in the light.",
    "ohwx woman in a mustard-yellow turtleneck, photographed on 35mm film, shallow depth of field, grain, f/1.8.",
)
WORDS = (
    "sleeveless turtleneck", "pleated skirt", "fingerless gloves", "thighhighs", "hair ribbon", "off-shoulder sweater",
    "scrunchie", "wide sleeves", "neckerchief", "collared shirt", "puffy short sleeves", "frilled apron", "hood down",
    "cherry blossoms", "floating hair", "sweatdrop", "halftone", "depth of field", "lens flare", "bokeh", "tokusatsu",
    "obi", "hakama", "zettai ryouiki", "hydrangea", "katana", "holding umbrella", "^_^", ":d", "4koma", "1990s (style)",
    "cable knit", "cross-laced footwear", "see-through silhouette", "tassel earrings", "jewelry", "chiaroscuro",
)  # fmt: skip
FOREIGN = (
    "привет, мир",
    "你好，世界",
    "café crème brûlée",
    "smörgåsbord",
    "👩‍🚀 astronaut",
    "ﬁne ligature",
    "Ærøskøbing",
    "العربية",
)


@pytest.fixture(scope="module")
def count() -> Callable[[str], int]:
    """Tokens by the tokenizer that ComfyUI brings, without start and end."""
    comfy = find_comfy()
    if comfy is None:
        pytest.skip("no ComfyUI: set COMFYUI_PATH, or put one at ~/comfy/ComfyUI")
    transformers: Any = pytest.importorskip("transformers", reason="ComfyUI's requirements are not installed")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(comfy / "comfy" / "sd1_tokenizer"))
    return lambda text: len(tokenizer(text)["input_ids"]) - 2


def captions() -> list[str]:
    kinds = itertools.product(*(get_args(kind) for kind in (Framing, Angle, Tilt, Expression, Light)))
    made = []
    for i, (framing, angle, tilt, expression, light) in enumerate(kinds):
        tags = tuple(WORDS[(i + 7 * k) % len(WORDS)] for k in range(i % 25))
        facts = Facts(framing=framing, angle=angle, tilt=tilt, expression=expression, light=light, tags=tags)
        made.append(caption_of(facts, ADA, i, Style(tokens=1000)))
    return [*made, *PROSE, " ".join(PROSE[:3])]


def test_the_estimate_is_hardly_ever_below_and_not_far_above(count: Callable[[str], int]) -> None:
    pairs = [(estimate_tokens(text), count(text)) for text in captions()]
    assert len(pairs) > 500 and max(real for _, real in pairs) > 100
    below = [(guess, real) for guess, real in pairs if guess < real]
    assert len(below) <= 0.02 * len(pairs) and all(real - guess <= 3 for guess, real in below)
    assert 1.0 <= sum(guess for guess, _ in pairs) / sum(real for _, real in pairs) <= 1.35


def test_hardly_a_caption_that_would_be_cut_is_missed(count: Callable[[str], int]) -> None:
    cut = [text for text in captions() if count(text) > LIMIT]
    assert len(cut) > 50 and sum(estimate_tokens(text) <= LIMIT for text in cut) <= 0.01 * len(cut)


@pytest.mark.parametrize("text", FOREIGN)
def test_other_alphabets_are_never_counted_too_low(count: Callable[[str], int], text: str) -> None:
    assert estimate_tokens(text) >= count(text)


def test_signs_and_digits_count_one_each() -> None:
    assert estimate_tokens("a, 123.") == 1 + 1 + 3 + 1
    assert estimate_tokens("") == 0
