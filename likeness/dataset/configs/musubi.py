"""Files for kohya-ss/musubi-tuner: `musubi.toml` (dataset/config_utils.py) and, where it trains the family,
`musubi_train.toml`.

It has no subsets, no regularisation, no masks and no shuffled captions. Its buckets are others than sd-scripts', but
with `bucket_no_upscale` a picture that is not larger than `resolution` is taken at its own size.
"""

from __future__ import annotations

from pathlib import Path

from ..plan import SetPlan
from ..presets import PRESETS, Preset, Schedule, schedule_of
from .kohya import CAPTIONS, SEED, output_name, path_in
from .toml_text import Table, Value, toml_bytes


def musubi_toml(plan: SetPlan, folder: Path) -> bytes:
    """The set for `--dataset_config` of the caching scripts and the training."""
    general: dict[str, Value] = {
        "resolution": [plan.shape.side, plan.shape.side],
        "caption_extension": CAPTIONS,
        "batch_size": plan.wish.batch,
        "enable_bucket": True,
        "bucket_no_upscale": True,
    }
    sets: list[dict[str, Value]] = [
        {
            "image_directory": path_in(folder, "img", name),
            "cache_directory": path_in(folder, "cache", str(repeats)),
            "num_repeats": repeats,
        }
        for repeats, name in plan.folder_names
    ]
    tables = [Table("general", general), *(Table("datasets", s, several=True) for s in sets)]
    return toml_bytes(f"Pictures of {plan.name}, for musubi-tuner: --dataset_config.", tables)


def musubi_train_toml(plan: SetPlan, folder: Path) -> bytes:
    """The training, for the script of a family that musubi-tuner trains."""
    preset, schedule = PRESETS[plan.family], schedule_of(plan)
    head = (
        f"Trains {plan.name} with {preset.script} of musubi-tuner: --config_file. {schedule}.\n"
        f"Latents and text encodings come first, by its two scripts for caching and musubi.toml.\n"
        f"Numbers: {preset.source}.\n"
        "Names of sections mean nothing, and a key with a mistake in it is ignored: the command line is safer."
    )
    missing = "For you to fill in:\n" + "\n".join(f'{name} = ""' for name in preset.files)
    tables = [
        Table("model", {}, remark=missing),
        Table("set", _files(plan, folder)),
        Table("training", _training(plan, preset, schedule)),
        Table(plan.family, dict(sorted(preset.options.items()))),
        Table("saving", _saving(plan, schedule)),
    ]
    return toml_bytes(head, tables)


def _files(plan: SetPlan, folder: Path) -> dict[str, Value]:
    return {
        "dataset_config": path_in(folder, "musubi.toml"),
        "output_dir": path_in(folder, "output"),
        "output_name": output_name(plan),
        "sample_prompts": path_in(folder, "sample_prompts.txt"),
    }


def _training(plan: SetPlan, preset: Preset, schedule: Schedule) -> dict[str, Value]:
    rank = plan.wish.rank or preset.rank
    return {
        "network_module": preset.module,
        "network_dim": rank,
        "network_alpha": preset.alpha_at(rank),
        "max_train_steps": schedule.steps,
        "learning_rate": preset.rate_at(rank),
        "lr_scheduler": preset.scheduler,
        "optimizer_type": "adamw8bit",
        "mixed_precision": preset.precision,
        "gradient_checkpointing": True,
        "sdpa": True,
        "max_data_loader_n_workers": 2,
        "persistent_data_loader_workers": True,
        "seed": SEED,
    }


def _saving(plan: SetPlan, schedule: Schedule) -> dict[str, Value]:
    return {
        "save_precision": "bf16",
        "save_every_n_steps": schedule.every,
        "sample_every_n_steps": schedule.every,
        "sample_at_first": True,
        "save_state": True,
        "save_last_n_steps_state": 1,
        "metadata_title": plan.character or plan.slug,
        "metadata_tags": plan.class_tokens,
        "training_comment": f"training set {plan.slug}/{plan.name}, trigger {plan.trigger}",
    }
