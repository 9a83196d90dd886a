"""Files for kohya-ss/sd-scripts: `dataset.toml` (library/config_util.py) and `train_<family>.toml`.

The trainer refuses what it does not know in a dataset config, and ignores it in silence in a training config. So a test
compares every key with the parser of the script that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..caption_tokens import estimate_tokens
from ..plan import SetPlan, folder_name
from ..presets import PRESETS, Preset, Schedule, schedule_of
from .toml_text import Table, Value, toml_bytes

CAPTIONS = ".txt"  # sd-scripts' own default is .caption
SEED = 42
_WORDY = 5  # words: from there a part between two commas is a phrase, and no tag
_SEPARATOR = ","
_WINDOWS = (75, 150, 225)  # tokens: what max_token_length allows


def dataset_toml(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> bytes:
    """The set in TOML mode."""
    subsets: list[dict[str, Value]] = [
        {"image_dir": path_in(folder, "img", name), "num_repeats": repeats, "class_tokens": plan.class_tokens}
        for repeats, name in plan.folder_names
    ]
    if regular is not None and regular.items:
        class_word = regular.class_word or regular.slug
        subsets.append(
            {"image_dir": reg_folder(folder, regular), "num_repeats": 1, "is_reg": True, "class_tokens": class_word}
        )
    mask: dict[str, Value] = {"alpha_mask": True} if masked(plan) else {}
    tables = [Table("general", _subset_rules(plan)), Table("datasets", _dataset_rules(plan), several=True)]
    tables += [Table("datasets.subsets", {**s, **mask}, several=True) for s in subsets]
    head = f"Pictures of {plan.name}, for sd-scripts: --dataset_config. Rebuild the set to change it."
    return toml_bytes(f"{head}{_of_captions(plan)}", tables)


def _of_captions(plan: SetPlan) -> str:
    """A line on why captions are shuffled, or not."""
    if not PRESETS[plan.family].shuffles:
        return ""
    rule = "Captions are shuffled" if shuffles(plan) else "Captions are not shuffled"
    return f"\n{rule}: {tag_lists(plan)} of {len(plan.items)} are lists of several tags, and the majority decides."


def train_toml(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> bytes:
    """The training, for the script of the family."""
    preset, schedule = PRESETS[plan.family], schedule_of(plan, regular)
    head = (
        f"Trains {plan.name} with {preset.script} of sd-scripts: --config_file. {schedule}.\n"
        f"Numbers: {preset.source}.\n"
        "Names of sections mean nothing, and a key with a mistake in it is ignored: the command line is safer."
    )
    folder_mode = (
        "Read only where train_data_dir is given in place of dataset_config: the same pictures by folders.\n"
        f"train_data_dir = {path_in(folder, 'img')}"
    )
    missing = "For you to fill in:\n" + "\n".join(f'{name} = ""' for name in preset.files)
    tables = [
        Table("model", {}, remark=missing),
        Table("set", _files(plan, folder)),
        Table("network", _network(plan, preset)),
        Table("training", _training(plan, preset, schedule)),
        Table(plan.family, dict(sorted(_options(plan, preset).items()))),
        Table("saving", _saving(plan, schedule)),
        Table("folder_mode", _folder_mode(plan), remark=folder_mode),
    ]
    return toml_bytes(head, [t for t in tables if t.values or t.remark])


def masked(plan: SetPlan) -> bool:
    """Whether the loss follows a mask: then for all, since pictures of one batch must agree."""
    return any(item.alpha for item in plan.items)


def keep_tokens(plan: SetPlan) -> int:
    """Parts between commas that stay in front when captions are shuffled: those with the trigger."""
    return plan.trigger.count(_SEPARATOR) + 1


def shuffles(plan: SetPlan) -> bool:
    """Tags may change places, sentences may not. The trainer has one rule for all captions, so most of them decide:
    one short or wordy caption among many tags does not change how the others are trained."""
    return PRESETS[plan.family].shuffles and tag_lists(plan) * 2 > len(plan.items)


def tag_lists(plan: SetPlan) -> int:
    """How many captions are tags that a shuffle would move: two or more behind those that stay, none of them a
    phrase."""
    parts = [item.caption.split(_SEPARATOR)[keep_tokens(plan) :] for item in plan.items]
    return sum(len(p) >= 2 and max(len(part.split()) for part in p) < _WORDY for p in parts)


def token_window(plan: SetPlan) -> int:
    """75, 150 or 225: what is longer is cut by the trainer in silence."""
    longest = max((estimate_tokens(i.caption) for i in plan.items), default=0)
    return next((w for w in _WINDOWS if longest <= w), _WINDOWS[-1])


def path_in(folder: Path, *names: str) -> str:
    """Absolute, with "/" on every system: trainers take other paths from their own folder."""
    return folder.absolute().joinpath(*names).as_posix()


def reg_folder(folder: Path, regular: SetPlan) -> str:
    """Where the regularisation pictures lie."""
    return path_in(folder, "reg", folder_name(1, regular.class_word, "", regular.slug))


def _subset_rules(plan: SetPlan) -> dict[str, Value]:
    return {
        "caption_extension": CAPTIONS,
        "shuffle_caption": shuffles(plan),
        "keep_tokens": keep_tokens(plan),
        "caption_dropout_rate": 0.0,
        "caption_tag_dropout_rate": 0.0,
        "enable_wildcard": False,
        "flip_aug": False,
        "color_aug": False,
        "random_crop": False,
    }


def _dataset_rules(plan: SetPlan) -> dict[str, Value]:
    shape = plan.shape
    return {
        "resolution": shape.side,
        "batch_size": plan.wish.batch,
        "enable_bucket": True,
        "min_bucket_reso": shape.smallest,
        "max_bucket_reso": shape.largest,
        "bucket_reso_steps": shape.steps,
        "bucket_no_upscale": False,
    }


def _files(plan: SetPlan, folder: Path) -> dict[str, Value]:
    return {
        "dataset_config": path_in(folder, "dataset.toml"),
        "output_dir": path_in(folder, "output"),
        "output_name": output_name(plan),
        "sample_prompts": path_in(folder, "sample_prompts.txt"),
    }


def output_name(plan: SetPlan) -> str:
    """Of the LoRA's file, without its suffix."""
    return f"{plan.slug}_{plan.name}"


def _network(plan: SetPlan, preset: Preset) -> dict[str, Value]:
    rank = plan.wish.rank or preset.rank
    return {"network_module": preset.module, "network_dim": rank, "network_alpha": preset.alpha_at(rank)}


def _training(plan: SetPlan, preset: Preset, schedule: Schedule) -> dict[str, Value]:
    text: dict[str, Value] = {} if preset.text_rate is None else {"text_encoder_lr": [preset.text_rate]}
    masks: dict[str, Value] = {"masked_loss": True} if masked(plan) else {}
    return {
        "max_train_steps": schedule.steps,
        "train_batch_size": plan.wish.batch,
        "learning_rate": preset.rate_at(plan.wish.rank or preset.rank),
        **text,
        "lr_scheduler": preset.scheduler,
        "lr_warmup_steps": schedule.warmup,
        "optimizer_type": "AdamW8bit",
        "mixed_precision": preset.precision,
        "gradient_checkpointing": True,
        "sdpa": True,
        "cache_latents": True,
        "max_data_loader_n_workers": 2,
        "persistent_data_loader_workers": True,
        "seed": SEED,
        "prior_loss_weight": 1.0,
        **masks,
    }


def _options(plan: SetPlan, preset: Preset) -> Mapping[str, Value]:
    options: dict[str, Value] = dict(preset.options)
    if preset.window and token_window(plan) > preset.window:
        options["max_token_length"] = token_window(plan)
    if plan.family == "sdxl" and not shuffles(plan):
        options["cache_text_encoder_outputs"] = True
    return options


def _saving(plan: SetPlan, schedule: Schedule) -> dict[str, Value]:
    return {
        "save_model_as": "safetensors",
        "save_precision": "fp16",
        "save_every_n_steps": schedule.every,
        "sample_every_n_steps": schedule.every,
        "sample_at_first": True,
        "save_state": True,
        "save_last_n_steps_state": 1,
        "metadata_title": plan.character or plan.slug,
        "metadata_trigger_phrase": plan.class_tokens,
        "training_comment": f"training set {plan.slug}/{plan.name}",
    }


def _folder_mode(plan: SetPlan) -> dict[str, Value]:
    rules = {key: value for key, value in (_subset_rules(plan) | _dataset_rules(plan)).items() if value is not False}
    rules.pop("batch_size")
    mask: dict[str, Value] = {"alpha_mask": True} if masked(plan) else {}
    return {**rules, "resolution": f"{plan.shape.side},{plan.shape.side}", **mask}
