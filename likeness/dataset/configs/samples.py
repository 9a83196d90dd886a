"""Prompts that a training draws now and then, with fixed seeds, so that one state can be compared with the next.

sd-scripts splits a line at " --" and reads each piece as an option, the prompt itself as well (`line_to_prompt_dict`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..buckets import Bucket, buckets_of
from ..plan import SetPlan
from ..presets import PRESETS

SEED = 1001
_OF_PEOPLE = ("portrait, looking at the viewer", "upper body, outdoors", "full body, standing, plain background")
_OF_THINGS = ("wide shot", "close-up, in detail", "from another angle, soft light")  # places, poses, things
_NEGATIVE, _NEGATIVE_OF_PEOPLE = "lowres, blurry, text, watermark", "deformed, bad anatomy"
_UPRIGHT = 0.8  # width / height of the pictures of a whole body
_OPTION = re.compile(r"(?:[whdslgf] [\d.]|(?:n|ss|cn|ctr|rcfg|fs|i|ei|ci|of) )", re.I)  # of both trainers
_WEIGHTED = ("sd15", "sdxl")  # families whose pictures are drawn with (weights) in prompts
_FRAMES = ("wan", "hunyuan_video")  # families that draw films


@dataclass(frozen=True)
class Sampling:
    """How sample pictures are drawn, whichever trainer draws them."""

    square: Bucket
    upright: Bucket
    negative: str  # "" where it would do nothing


def sampling_of(plan: SetPlan) -> Sampling:
    known = buckets_of(plan.shape)
    return Sampling(
        square=min(known, key=lambda b: (abs(b.ratio - 1.0), -b.width)),
        upright=min(known, key=lambda b: (abs(b.ratio - _UPRIGHT), -b.height)),
        negative=_negative_of(plan) if PRESETS[plan.family].negative else "",
    )


def _negative_of(plan: SetPlan) -> str:
    return f"{_NEGATIVE}, {_NEGATIVE_OF_PEOPLE}" if plan.rules.need_face else _NEGATIVE


def scenes_of(plan: SetPlan) -> tuple[str, str, str]:
    """What the samples show; the third one in an upright picture."""
    return _OF_PEOPLE if plan.rules.need_face else _OF_THINGS


def sample_prompts(plan: SetPlan) -> bytes:
    """One prompt a line: trigger and class in three scenes, a caption of the set, and the class word alone."""
    sampling, who, scenes = sampling_of(plan), plan.class_tokens, scenes_of(plan)
    drawn = [(f"{who}, {scene}", sampling.square) for scene in scenes[:2]]
    drawn += [(f"{who}, {scenes[2]}", sampling.upright)]
    drawn += [(item.caption, item.bucket) for item in plan.items[:1]]
    drawn += [(f"{plan.class_word}, {scenes[0]}", sampling.square)] if plan.class_word else []  # has it leaked?
    lines = [_line(plan, sampling, text, size, SEED + i) for i, (text, size) in enumerate(drawn)]
    head = "# Drawn during the training, with the same seeds each time. --d seed, --s steps, --l CFG, --n negative"
    return ("\n".join([head, *lines]) + "\n").encode("utf-8", "replace")


def prompt_text(plan: SetPlan, text: str) -> str:
    """`text` so that it is read as a prompt, whole."""
    line = " ".join(text.split()).replace(" --", " - ")
    if plan.family in _WEIGHTED:
        line = re.sub(r"[\\()\[\]]", r"\\\g<0>", line)
    return f"image of {line}" if line.startswith("#") or _OPTION.match(line) else line


def _line(plan: SetPlan, sampling: Sampling, text: str, size: Bucket, seed: int) -> str:
    preset = PRESETS[plan.family]
    parts = [prompt_text(plan, text)]
    parts += [f"--n {sampling.negative}"] if sampling.negative else []
    parts += [f"--w {size.width}", f"--h {size.height}", f"--d {seed}", f"--s {preset.sample_steps}"]
    parts += [f"--l {preset.cfg}"]
    parts += [] if preset.embedded_guidance is None else [f"--g {preset.embedded_guidance}"]
    parts += ["--f 1"] if plan.family in _FRAMES else []
    return " ".join(parts)
