"""`ai_toolkit.yaml` for ostris/ai-toolkit (toolkit/config_modules.py). Numbers: its config/examples.

It never enlarges a picture, and takes one that is a bucket of ours as it is. Where it may, it keeps `_latent_cache`
folders beside the pictures, so latents stay in memory here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..plan import SetPlan
from ..presets import PRESETS, schedule_of
from .kohya import SEED, keep_tokens, masked, output_name, path_in, reg_folder, shuffles
from .samples import Sampling, sampling_of, scenes_of
from .yaml_text import Yaml, yaml_bytes


@dataclass(frozen=True)
class Row:
    """One of the examples."""

    arch: str
    rank: int = 16
    alpha: float = 16.0
    rate: float = 1e-4
    quantize: bool = True
    scheduler: str = "flowmatch"  # of the noise


ROWS: Mapping[str, Row] = {
    "sd15": Row("sd1", 32, 32.0, quantize=False, scheduler="ddpm"),  # no example: the preset's numbers
    "sdxl": Row("sdxl", 32, 16.0, quantize=False, scheduler="ddpm"),  # no example: the preset's numbers
    "sd3": Row("sd3"),
    "flux": Row("flux"),
    "chroma": Row("chroma"),
    "flux2": Row("flux2"),
    "qwen_image": Row("qwen_image"),
    "z_image": Row("zimage"),
    "wan": Row("wan21", 32, 32.0),
}


def ai_toolkit_yaml(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> bytes:
    """The job for `python run.py <file>`."""
    schedule = schedule_of(plan, regular)
    job: dict[str, Yaml] = {
        "type": "sd_trainer",
        "training_folder": path_in(folder, "output"),
        "device": "cuda:0",
        "trigger_word": plan.trigger,
        "network": _network(plan),
        "save": {"dtype": "float16", "save_every": schedule.every, "max_step_saves_to_keep": 6},
        "datasets": _datasets(plan, folder, regular),
        "train": _train(plan, schedule.steps),
        "model": {"name_or_path": "", "arch": ROWS[plan.family].arch, "quantize": ROWS[plan.family].quantize},
        "sample": _sample(plan, sampling_of(plan), schedule.every),
    }
    head = (
        f"Trains {plan.name} with ai-toolkit: python run.py <this file>. {schedule.steps} steps.\n"
        "Fill in model.name_or_path: a folder, a file, or a name on Hugging Face."
    )
    return yaml_bytes(head, {"job": "extension", "config": {"name": output_name(plan), "process": [job]}})


def _network(plan: SetPlan) -> dict[str, Yaml]:
    row = ROWS[plan.family]
    rank = plan.wish.rank or row.rank
    return {"type": "lora", "linear": rank, "linear_alpha": row.alpha * rank / row.rank}


def _datasets(plan: SetPlan, folder: Path, regular: SetPlan | None) -> list[Yaml]:
    common: dict[str, Yaml] = {
        "caption_ext": "txt",
        "resolution": [plan.shape.side],
        "bucket_tolerance": plan.shape.steps,
        "cache_latents": True,
        "cache_latents_to_disk": False,
        "caption_dropout_rate": 0.0,
    }
    own: dict[str, Yaml] = {"shuffle_tokens": shuffles(plan), "keep_tokens": keep_tokens(plan)}
    mask: dict[str, Yaml] = {"alpha_mask": True} if masked(plan) else {}
    found: list[Yaml] = [
        {"folder_path": path_in(folder, "img", name), "num_repeats": repeats, **common, **own, **mask}
        for repeats, name in plan.folder_names
    ]
    if regular is not None and regular.items:
        found.append({"folder_path": reg_folder(folder, regular), "num_repeats": 1, "is_reg": True, **common})
    return found


def _train(plan: SetPlan, steps: int) -> dict[str, Yaml]:
    row = ROWS[plan.family]
    return {
        "batch_size": plan.wish.batch,
        "steps": steps,
        "gradient_accumulation": 1,
        "train_unet": True,
        "train_text_encoder": False,
        "gradient_checkpointing": True,
        "noise_scheduler": row.scheduler,
        "optimizer": "adamw8bit",
        "lr": row.rate,
        "dtype": "bf16",
    }


def _sample(plan: SetPlan, sampling: Sampling, every: int) -> dict[str, Yaml]:
    preset = PRESETS[plan.family]
    return {
        "sampler": ROWS[plan.family].scheduler,
        "sample_every": every,
        "width": sampling.square.width,
        "height": sampling.square.height,
        "prompts": [f"{plan.class_tokens}, {scene}" for scene in scenes_of(plan)],
        "neg": sampling.negative,
        "seed": SEED,
        "walk_seed": False,
        "guidance_scale": preset.embedded_guidance or preset.cfg,
        "sample_steps": preset.sample_steps,
    }
