"""What `likeness train` starts: checked whole, and told in one sentence, before anything runs."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..dataset.moved import check_place
from ..dataset.presets import PRESETS
from ..errors import LikenessError, quoted
from ..files import read_limited
from ..lora_file import checkpoint_family, fits
from .output import slug_named
from .train_states import newest_state, steps_of
from .trainer_checks import check_model, check_options, check_python, program_named

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPTS = {  # kohya-ss/sd-scripts; musubi-tuner and others train the rest
    "sd15": "train_network.py",
    "sdxl": "sdxl_train_network.py",
    "sd3": "sd3_train_network.py",
    "flux": "flux_train_network.py",
    "chroma": "flux_train_network.py",
}
_MODEL = "pretrained_model_name_or_path"
_MODELS = (_MODEL, "vae", "ae", "clip_l", "clip_g", "t5xxl", "gemma2", "network_weights")
_PATHS = (  # options that name a file or folder, which must be there
    *_MODELS,
    *("dataset_config", "train_data_dir", "reg_data_dir", "sample_prompts", "resume"),
)
_ON_DISK = "Nothing is downloaded: give a checkpoint on this computer by --model FILE."
_MUSUBI = "musubi_train.toml"  # of a set that musubi-tuner trains
_TEXTS = (*_PATHS, "output_dir", "output_name")
_OURS = ("config_file", "output_config")  # of a training that is checked by its own config
_MAX_NAME = 200  # bytes; the trainer adds the step and a suffix
_ROOM = 2 << 30  # bytes free for LoRAs, states and caches
_MAX_CONFIG, _MAX_SET = 4 << 20, 256 << 20  # bytes


@dataclass(frozen=True)
class Job:
    """A training that can be started."""

    folder: Path  # the set
    family: str
    slug: str
    command: tuple[str, ...]
    home: Path  # sd-scripts
    output: Path  # folder of the LoRA
    name: str
    state: Path | None = None  # to go on from
    done: int = 0  # steps behind that state
    wanted: int | None = None  # steps in all, where it goes on

    @property
    def lora(self) -> Path:
        return self.output / f"{self.name}.safetensors"


def job_of(arguments: argparse.Namespace) -> Job:
    """LikenessError for what is missing, in one sentence. What is cheap to ask comes first."""
    folder, home = (p.absolute() for p in (arguments.set, arguments.sd_scripts))
    python = program_named(str(arguments.python))
    config, family = config_of(folder, arguments.family)
    options, settings = _options(arguments), settings_of(config)
    values = {**settings, **options}
    script = _script(home, family)
    for key, value in (("output_dir", str(folder / "output")), ("output_name", f"{folder.name}_{family}")):
        if not values.get(key):
            options[key] = values[key] = value
    _check_texts(values)
    if "dataset_config" not in options:
        check_place(folder)
    _check_files(values, home, family)
    output, name = home / values["output_dir"], values["output_name"]
    _check_room(output)
    start = (str(python), str(script), "--config_file", str(config), "--console_log_simple")
    slug = slug_named(arguments.character) if arguments.character else _slug_in(folder)
    flags = tuple(_flag(key, value) for key, value in options.items())
    job = Job(folder, family, slug, (*start, *flags), home, output, name)
    if arguments.resume:
        job = _resumed(job, values)
    check_python(python, home, str(values.get("optimizer_type", "")))
    check_options(python, script, config, settings, job.command[len(start) :])
    return job


def _flag(key: str, value: str) -> str:
    """In one word, so that no value is taken for an option."""
    return f"--{key}" if value == "true" and key not in _TEXTS else f"--{key}={value}"


def _options(arguments: argparse.Namespace) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in arguments.options:
        key, found, value = text.partition("=")
        if not found or not key.replace("_", "").isalnum():
            raise LikenessError(
                f"--set {quoted(text)} is no option: write it as key=value, for example max_train_steps=500."
            )
        _check_option(key, value)
        options[key] = _from_here(key, value)
    if arguments.model is not None:
        if not _is_there(arguments.model):
            raise LikenessError(f"--model: there is no {quoted(str(arguments.model), 300)}. {_ON_DISK}")
        options[_MODEL] = str(arguments.model.absolute())
    return options


def _from_here(key: str, value: str) -> str:
    """A file or folder as the one who types means it; the trainer would look for it in its own folder."""
    mine = key == "output_dir" or (key in _PATHS and _is_there(Path(value)))
    return str(Path(value).absolute()) if mine and value else value


def _check_option(key: str, value: str) -> None:
    """The trainer takes the beginning of an option's name for the option, so a short name would not be checked."""
    if any(name.startswith(key) for name in _OURS):
        raise LikenessError(f"--set {key} would train by another config than the set's: give the folder of that set.")
    if meant := [name for name in _TEXTS if name.startswith(key) and name != key]:
        raise LikenessError(f"--set {key} is no option: write its whole name, for example {meant[0]}.")
    if value == "false":
        raise LikenessError(f"--set {key}=false does nothing: take {key} out of the set's config.")


def config_of(folder: Path, family: str | None) -> tuple[Path, str]:
    """(config file, family) of a set."""
    if not _is_there(folder, Path.is_dir):
        raise LikenessError(f"There is no training set {folder}: build one with `likeness dataset build`.")
    found = {p.stem.removeprefix("train_"): p for p in sorted(folder.glob("train_*.toml"))}
    chosen = [f for f in found if f in SCRIPTS and family in (None, f)]
    if not found and _is_there(folder / _MUSUBI, Path.is_file):
        raise LikenessError(
            f"sd-scripts does not train the family of {folder}: train it by musubi-tuner's own scripts, with "
            f"{folder / _MUSUBI}, whose first lines name the script."
        )
    if len(chosen) != 1:
        there = ", ".join(p.name for p in found.values()) or "none"
        say_which = "say --family" if len(chosen) > 1 else f"sd-scripts trains {', '.join(SCRIPTS)}"
        raise LikenessError(f"{folder} must hold one train_<family>.toml to train from; there is {there}: {say_which}.")
    return found[chosen[0]], chosen[0]


def settings_of(config: Path) -> dict[str, Any]:
    """The config as the trainer reads it: sections are only for reading."""
    table = _toml(config)
    flat = {k: v for section in table.values() if isinstance(section, dict) for k, v in section.items()}
    return {**{k: v for k, v in table.items() if not isinstance(v, dict)}, **flat}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_limited(path, _MAX_CONFIG).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise LikenessError(f"{path} is no valid TOML ({error}): build the set again.") from error


def _script(home: Path, family: str) -> Path:
    script = home / SCRIPTS[family]
    if not _is_there(script, Path.is_file):
        raise LikenessError(
            f"{home} holds no {SCRIPTS[family]}: give the folder of kohya-ss/sd-scripts by --sd-scripts."
        )
    return script


def _is_there(path: Path, ask: Callable[[Path], bool] = Path.exists) -> bool:
    """A name that no file can have is not there, too."""
    try:
        return ask(path)
    except (OSError, ValueError):
        return False


def _check_texts(values: Mapping[str, Any]) -> None:
    for key in _TEXTS:
        if not isinstance(values.get(key) or "", str):
            raise LikenessError(f"{key} must be one text, not {quoted(values[key])}: correct the set's config.")
    name = values["output_name"]
    if Path(name).name != name or set(name) & {"\\", "\0"} or len(name.encode()) > _MAX_NAME:
        raise LikenessError(f"output_name {quoted(name)} cannot be a file's name: give a shorter, plain one.")


def _check_files(values: Mapping[str, Any], home: Path, family: str) -> None:
    """Every file that the settings name; a name that is no file would be downloaded, or trained without in silence."""
    if not values.get(_MODEL):
        raise LikenessError("The config names no model to train on: give a checkpoint by --model.")
    for key in _needed(family):
        if not values.get(key):
            raise LikenessError(f"The config names no {key}, and {family} needs it: give it by --set {key}=FILE.")
    for key in _PATHS:
        if (name := values.get(key)) and not _is_there(home / name):
            other = _ON_DISK if key == _MODEL else f"Give another one by --set {key}=FILE, or build the set again."
            raise LikenessError(f"{key}: there is no {quoted(name, 300)}. {other}")
    for key in _MODELS:
        if (name := values.get(key)) and (home / name).is_file():
            check_model(key, home / name)
    _check_checkpoint(home / values[_MODEL], family)
    if values.get("dataset_config"):
        _check_pictures(home / values["dataset_config"], home)


def _needed(family: str) -> tuple[str, ...]:
    """Options that name the models without which the family is not trained."""
    inside = ("clip_l", "clip_g", "t5xxl") if family == "sd3" else ()  # a checkpoint may hold them itself
    return tuple(key for key in PRESETS[family].files if key not in inside)


def _check_checkpoint(model: Path, family: str) -> None:
    if model.is_dir():
        if not (model / "model_index.json").is_file():
            raise LikenessError(f"{_MODEL}: {model} is a folder without model_index.json. {_ON_DISK}")
        return
    told = checkpoint_family(model)
    if told is not None and not fits(told, family):
        raise LikenessError(f"{model.name} is a checkpoint for {told}, and the set is for {family}: give another one.")


def _check_pictures(config: Path, home: Path) -> None:
    subsets = [s for dataset in _tables(_toml(config), "datasets") for s in _tables(dataset, "subsets")]
    for folder in [str(s.get("image_dir", "")) for s in subsets] or [""]:
        if not folder:
            raise LikenessError(f"{config.name} names no folder of pictures: build the set again.")
        if not _is_there(home / folder, Path.is_dir):
            raise LikenessError(f"{config.name} names {quoted(folder, 300)}, which is not there: build the set again.")


def _tables(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = table.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _check_room(output: Path) -> None:
    try:
        output.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # ValueError: a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise LikenessError(f"output_dir {quoted(str(output), 300)} cannot be used ({why}): give another.") from error
    place = next(p for p in (output, *output.parents) if _is_there(p))
    free = shutil.disk_usage(place).free
    if free < _ROOM:
        raise LikenessError(
            f"Only {free / 2**30:.1f} GB are free in {place}, and a training needs {_ROOM >> 30}: make room."
        )


def _slug_in(folder: Path) -> str:
    """The character's, from set.json; else from the folders, <slug>/<set>."""
    try:
        told = json.loads(read_limited(folder / "set.json", _MAX_SET))
        told = told.get("plan", told) if isinstance(told, dict) else {}
    except (LikenessError, ValueError, RecursionError):
        told = {}
    slug = told.get("slug") if isinstance(told, dict) else None
    return str(slug or folder.parent.name)


def _resumed(job: Job, values: Mapping[str, Any]) -> Job:
    """The job from the newest state on."""
    state = newest_state(job.output, job.name)
    if state is None:
        raise LikenessError(f"{job.output} holds no state of {job.name} to go on from: start without --resume.")
    told = steps_of(state, job.folder / "logs", job.family)
    done, wanted = told or 0, _number(values, "max_train_steps")
    if wanted is not None and done >= wanted and not values.get("max_train_epochs"):
        raise LikenessError(
            f"{state.name} has {done} steps, all of the {wanted} that are wanted: raise them by "
            "--set max_train_steps=NUMBER, or start without --resume."
        )
    flags = [_flag("resume", str(state)), "--skip_until_initial_step"]
    if _number(values, "gradient_accumulation_steps") in (None, 1):  # else it counts in two ways, and ours is a third
        flags += [_flag("initial_step", str(done))] if done else []
    return replace(job, command=(*job.command, *flags), state=state, done=done, wanted=wanted)


def _number(values: Mapping[str, Any], key: str) -> int | None:
    text = str(values.get(key, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
