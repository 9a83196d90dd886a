"""Training settings for each base family, and the arithmetic from one wish, the number of steps.

A preset is one row of one source, since `alpha / rank` and the learning rate belong together: 32/32 at 1e-4 learns
about as strongly as 16/1 at 1.6e-3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from ..errors import LikenessError
from ..profile import BaseFamily
from .buckets import Bucket, Shape
from .plan import MAX_REPEATS, Item, SetPlan

Trainer = Literal["sd-scripts", "musubi-tuner", ""]
Option = str | bool | int | float
EPOCHS = 10  # how often every picture is seen where nothing else is wished; the docs of both trainers: 10 and 16
SAVES = 5  # LoRAs on the way, the last one not counted
WARMUP = 100  # steps
MOST_WARMUP = 0.1  # of all steps


@dataclass(frozen=True)
class Preset:
    """What a family is trained with, unless somebody says otherwise."""

    family: BaseFamily
    trainer: Trainer  # whose config is written; "" for none
    script: str  # of that trainer
    module: str  # its network_module
    source: str  # where the numbers are from
    side: int = 1024  # px; the area of a picture is side x side
    grid: int = 16  # px; the trainer refuses, or cuts, sides that are no multiple of it
    rank: int = 16
    alpha: float = 16.0  # at that rank
    ranks: tuple[int, int] = (4, 128)  # from, to: what is usual
    rate: float = 1e-4  # learning rate
    high_rank_rate: float | None = None  # above rank 64
    text_rate: float | None = None  # of the text encoder; None: it is not trained
    steps: tuple[int, int, int] = (500, 2000, 4000)  # fewest that make sense, usual, most
    precision: Literal["fp16", "bf16"] = "bf16"
    scheduler: str = "cosine"
    cfg: float = 4.0  # of sample pictures
    embedded_guidance: float | None = None  # of sample pictures, where the model has one
    sample_steps: int = 25
    negative: bool = True  # whether a negative prompt does anything
    shuffles: bool = False  # whether captions may be shuffled: not with stored text encodings
    window: int = 0  # tokens that the text encoder reads at once, where long captions need an option
    options: Mapping[str, Option] = field(default_factory=dict)  # of the script, beside the common ones
    files: tuple[str, ...] = ("pretrained_model_name_or_path",)  # options that name models, for the user to give

    def alpha_at(self, rank: int) -> float:
        """alpha / rank stays: another rank gives more room, not more strength."""
        return self.alpha * rank / self.rank

    def rate_at(self, rank: int) -> float:
        return self.high_rank_rate if self.high_rank_rate is not None and rank > 64 else self.rate


_T5 = {"cache_text_encoder_outputs": True, "network_train_unet_only": True}
_FLUX_FILES = ("pretrained_model_name_or_path", "clip_l", "t5xxl", "ae")
_DIT_FILES = ("dit", "vae", "text_encoder")
_MUSUBI = {"weighting_scheme": "none"}

_ALL = (
    Preset(
        "sd15",
        "sd-scripts",
        "train_network.py",
        "networks.lora",
        "Likeness's own choice; sd-scripts docs/train_network.md advises a lower rate for the text encoder",
        grid=64,
        side=768,
        rank=32,
        alpha=32.0,
        text_rate=5e-5,
        steps=(2000, 3000, 4000),
        precision="fp16",
        cfg=7.0,
        shuffles=True,
        window=75,
    ),
    Preset(
        "sdxl",
        "sd-scripts",
        "sdxl_train_network.py",
        "networks.lora",
        "sd-scripts docs/sdxl_train_network.md (32/16, 1e-4, bf16) and docs/train_SDXL-en.md (UNet alone)",
        grid=32,
        rank=32,
        alpha=16.0,
        ranks=(32, 128),
        high_rank_rate=5e-5,
        steps=(1000, 2000, 3000),
        cfg=6.0,
        shuffles=True,
        window=75,
        options={"no_half_vae": True, "network_train_unet_only": True},
    ),
    Preset(
        "sd3",
        "sd-scripts",
        "sd3_train_network.py",
        "networks.lora_sd3",
        "ai-toolkit train_lora_sd35_large_24gb.yaml (rank, rate, steps) and sd-scripts docs/sd3_train_network.md",
        grid=32,
        options={"weighting_scheme": "uniform", "blocks_to_swap": 32, **_T5},
        files=("pretrained_model_name_or_path", "clip_l", "clip_g", "t5xxl"),
    ),
    Preset(
        "flux",
        "sd-scripts",
        "flux_train_network.py",
        "networks.lora_flux",
        "ai-toolkit train_lora_flux_24gb.yaml (rank, rate, steps) and sd-scripts docs/flux_train_network.md",
        grid=64,
        cfg=1.0,
        embedded_guidance=3.5,
        sample_steps=20,
        negative=False,
        options={
            "guidance_scale": 1.0,
            "timestep_sampling": "flux_shift",
            "model_prediction_type": "raw",
            "blocks_to_swap": 18,
            **_T5,
        },
        files=_FLUX_FILES,
    ),
    Preset(
        "chroma",
        "sd-scripts",
        "flux_train_network.py",
        "networks.lora_flux",
        "ai-toolkit train_lora_chroma_24gb.yaml (rank, rate, steps) and sd-scripts docs/flux_train_network.md",
        grid=64,
        embedded_guidance=0.0,
        sample_steps=20,
        options={
            "model_type": "chroma",
            "guidance_scale": 0.0,
            "timestep_sampling": "sigmoid",
            "apply_t5_attn_mask": True,
            "model_prediction_type": "raw",
            "blocks_to_swap": 18,
            **_T5,
        },
        files=("pretrained_model_name_or_path", "t5xxl", "ae"),
    ),
    Preset(
        "flux2",
        "musubi-tuner",
        "flux_2_train_network.py",
        "networks.lora_flux_2",
        "musubi-tuner docs/flux_2.md",
        rank=32,
        alpha=1.0,
        scheduler="constant",
        embedded_guidance=4.0,
        negative=False,
        options={"timestep_sampling": "flux2_shift", "model_version": "dev", **_MUSUBI},
        files=_DIT_FILES,
    ),
    Preset(
        "qwen_image",
        "musubi-tuner",
        "qwen_image_train_network.py",
        "networks.lora_qwen_image",
        "musubi-tuner docs/qwen_image.md",
        rank=16,
        alpha=1.0,
        rate=5e-5,
        scheduler="constant",
        options={
            "timestep_sampling": "shift",
            "discrete_flow_shift": 2.2,
            "model_version": "original",
            **_MUSUBI,
        },
        files=_DIT_FILES,
    ),
    Preset(
        "z_image",
        "musubi-tuner",
        "zimage_train_network.py",
        "networks.lora_zimage",
        "musubi-tuner docs/zimage.md",
        rank=32,
        alpha=1.0,
        scheduler="constant",
        options={"timestep_sampling": "shift", "discrete_flow_shift": 2.0, **_MUSUBI},
        files=_DIT_FILES,
    ),
    Preset(
        "wan",
        "musubi-tuner",
        "wan_train_network.py",
        "networks.lora_wan",
        "musubi-tuner docs/wan.md",
        rank=32,
        alpha=1.0,
        rate=2e-4,
        scheduler="constant",
        cfg=5.0,
        options={"timestep_sampling": "shift", "discrete_flow_shift": 3.0, "task": "t2v-14B", "fp8_base": True},
        files=("dit", "vae", "t5"),
    ),
    Preset(
        "hunyuan_video",
        "musubi-tuner",
        "hv_train_network.py",
        "networks.lora",
        "musubi-tuner docs/hunyuan_video.md",
        rank=32,
        alpha=1.0,
        rate=2e-4,
        scheduler="constant",
        embedded_guidance=6.0,
        negative=False,
        options={"timestep_sampling": "shift", "discrete_flow_shift": 7.0, "fp8_base": True},
        files=("dit", "vae", "text_encoder1", "text_encoder2"),
    ),
    Preset("kolors", "", "", "", "no trainer of this list trains it; the numbers are SDXL's", rank=32, alpha=16.0),
    Preset("other", "", "", "", "ai-toolkit's examples agree on these", rank=16, alpha=16.0),
)
PRESETS: Mapping[BaseFamily, Preset] = {p.family: p for p in _ALL}


def preset_for(family: BaseFamily) -> Preset:
    """The preset of a family; every one has one."""
    return PRESETS[family]


def usual_steps(family: BaseFamily) -> int:
    """The steps of a wish that names none."""
    return PRESETS[family].steps[1]


def check_shape(plan: SetPlan) -> None:
    """LikenessError where the trainer of the family would refuse the plan's sizes, or cut them."""
    grid, family = PRESETS[plan.family].grid, plan.family
    if plan.shape.steps % grid:
        raise LikenessError(
            f"shape.steps: {plan.shape.steps} px is no multiple of {grid}, which the training of {family} needs: plan "
            f"the set with steps of {max(grid, 64)} px."
        )


def shape_for(family: BaseFamily, side: int | None = None) -> Shape:
    """The buckets of a family at its usual size, or at `side` px."""
    return Shape.of(side or PRESETS[family].side)


# ---- steps, epochs, repeats


@dataclass(frozen=True)
class Schedule:
    """How a set is gone through. The trainer prints the same numbers when it starts."""

    samples: int  # pictures of one epoch with their repeats, regularisation pictures included
    steps_per_epoch: int  # batches; each holds pictures of one bucket
    epochs: int  # begun ones: the last may end early
    steps: int  # in total
    warmup: int  # steps
    every: int  # steps between two LoRAs that are kept, and two rounds of sample pictures

    def __str__(self) -> str:
        whole = "" if self.steps == self.epochs * self.steps_per_epoch else ", the last one in part"
        return f"{self.steps} steps: {self.epochs} epochs of {self.steps_per_epoch}{whole}"


def schedule_of(plan: SetPlan, regular: SetPlan | None = None) -> Schedule:
    """The schedule of the plan's own wish. LikenessError for a set without pictures."""
    counts = _counts(plan, regular)
    per_epoch, steps = sum(steps_of(c, plan.wish.batch) for c in counts), plan.wish.steps
    if not per_epoch:
        raise LikenessError(f"The set {plan.name!r} has no picture to train on.")
    return Schedule(
        samples=sum(c.total() for c in counts),
        steps_per_epoch=per_epoch,
        epochs=ceil(steps / per_epoch),
        steps=steps,
        warmup=min(WARMUP, int(steps * MOST_WARMUP)),
        every=max(1, ceil(steps / (SAVES + 1))),
    )


def _counts(plan: SetPlan, regular: SetPlan | None) -> list[Counter[Bucket]]:
    """For each dataset of the trainer: musubi-tuner has one for each number of repeats, and no regularisation."""
    if PRESETS[plan.family].trainer == "musubi-tuner":
        return [counts_of([i for i in plan.items if i.repeats == n]) for n, _ in plan.folder_names]
    return [counts_of(plan.items, regular.items if regular is not None else ())]


def counts_of(items: Sequence[Item], regular: Sequence[Item] = ()) -> Counter[Bucket]:
    """Samples of one epoch in each bucket.

    sd-scripts draws regularisation pictures, in the order of their names, until there are as many as samples to train
    on (`DreamBoothDataset.__init__`).
    """
    counts: Counter[Bucket] = Counter()
    for item in items:
        counts[item.bucket] += item.repeats
    samples, reg = counts.total(), sorted(regular, key=lambda i: i.stem)
    for index in range(samples if reg else 0):
        counts[reg[index % len(reg)].bucket] += 1
    return counts


def steps_of(counts: Mapping[Bucket, int], batch: int) -> int:
    """Steps of one epoch: a batch holds pictures of one bucket, so each bucket's last one may be small."""
    return sum(ceil(n / batch) for n in counts.values())


def repeats_for(pictures: int, steps: int, batch: int = 1, epochs: int = EPOCHS) -> int:
    """Repeats of each picture with which `steps` are about `epochs` epochs. Repeats are bookkeeping: they set how often
    an epoch ends, and let groups weigh differently; steps decide how long is trained."""
    if pictures < 1 or steps < 1 or batch < 1 or epochs < 1:
        raise LikenessError("Pictures, steps, batch and epochs are at least 1 each.")
    return max(1, min(MAX_REPEATS, round(steps * batch / (pictures * epochs))))


def advice(plan: SetPlan, regular: SetPlan | None = None) -> tuple[str, ...]:
    """What is unusual about the wish, and what it comes to, one sentence each."""
    from .advice import sentences  # which reads the presets itself

    return sentences(plan, regular)
