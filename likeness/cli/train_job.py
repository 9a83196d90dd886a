"""What `likeness train` starts: checked whole, and told in one sentence, before anything runs."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LikenessError, quoted
from ..files import read_limited
from ..lora_file import checkpoint_family, fits
from .output import slug_named
from .trainer import clean_environment, plain_text

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
_PATHS = (  # options that name a file or folder, which must be there
    *("pretrained_model_name_or_path", "vae", "ae", "clip_l", "clip_g", "t5xxl", "gemma2", "network_weights"),
    *("dataset_config", "train_data_dir", "reg_data_dir", "sample_prompts", "resume"),
)
_TEXTS = (*_PATHS, "output_dir", "output_name")
_OURS = ("config_file", "output_config")  # of a training that is checked by its own config
_MAX_NAME = 200  # bytes; the trainer adds the step and a suffix
_NEEDS = (
    "torch",
    "torchvision",
    "accelerate",
    "diffusers",
    "transformers",
    "safetensors",
    "toml",
    "imagesize",
    "voluptuous",
)
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
    state: Path | None  # to go on from

    @property
    def lora(self) -> Path:
        return self.output / f"{self.name}.safetensors"


def job_of(arguments: argparse.Namespace) -> Job:
    """LikenessError for what is missing, in one sentence."""
    folder, home, python = (p.absolute() for p in (arguments.set, arguments.sd_scripts, arguments.python))
    config, family = config_of(folder, arguments.family)
    options = _options(arguments)
    values = {**settings_of(config), **options}
    script = _script(home, family)
    _check_python(python, home)
    for key, value in (("output_dir", str(folder / "output")), ("output_name", f"{folder.name}_{family}")):
        if not values.get(key):
            options[key] = values[key] = value
    _check_texts(values)
    output, name = home / values["output_dir"], values["output_name"]
    _check_files(values, home, family)
    _check_room(output)
    state = _state(output, name, values) if arguments.resume else None
    if state is not None:
        options["resume"] = str(state)
    flags = [_flag(key, value) for key, value in options.items()]
    flags += ["--skip_until_initial_step"] if state is not None else []
    command = (str(python), str(script), "--config_file", str(config), "--console_log_simple", *flags)
    slug = slug_named(arguments.character) if arguments.character else _slug_in(folder)
    return Job(folder, family, slug, command, home, output, name, state)


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
        options[key] = value
    if arguments.model is not None:
        options["pretrained_model_name_or_path"] = str(arguments.model.absolute())
    return options


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


def _check_python(python: Path, home: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {_NEEDS!r} if u.find_spec(n) is None])"
    try:
        command = [str(python), "-c", code]
        place: dict[str, Any] = {"cwd": home, "env": clean_environment(os.environ)}
        place |= {"encoding": "utf-8", "errors": "replace", "timeout": 120, "stdin": subprocess.DEVNULL}
        ran = subprocess.run(command, capture_output=True, check=False, **place)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LikenessError(f"{python} does not run ({error}): give sd-scripts' own Python by --python.") from error
    told = (ran.stdout.strip().splitlines() or [""])[-1]  # what its own start prints comes before
    if ran.returncode != 0 or not told.startswith("["):
        raise LikenessError(f"{python} is no Python that runs: {plain_text(ran.stderr or ran.stdout).strip()[-200:]}")
    if told != "[]":
        raise LikenessError(
            f"{python} lacks {plain_text(told)}: install the requirements of sd-scripts there, in an environment of "
            "its own, never in ComfyUI's."
        )


def _check_texts(values: Mapping[str, Any]) -> None:
    for key in _TEXTS:
        if not isinstance(values.get(key) or "", str):
            raise LikenessError(f"{key} must be one text, not {quoted(values[key])}: correct the set's config.")
    name = values["output_name"]
    if Path(name).name != name or set(name) & {"\\", "\0"} or len(name.encode()) > _MAX_NAME:
        raise LikenessError(f"output_name {quoted(name)} cannot be a file's name: give a shorter, plain one.")


def _check_files(values: Mapping[str, Any], home: Path, family: str) -> None:
    """Every file that the settings name; a name that is no file would be downloaded, or trained without in silence."""
    if not values.get("pretrained_model_name_or_path"):
        raise LikenessError("The config names no model to train on: give a checkpoint by --model.")
    for key in _PATHS:
        if (name := values.get(key)) and not _is_there(home / name):
            raise LikenessError(
                f"{key}: there is no {quoted(name, 300)}. Give another one by --set {key}=FILE, or build the set again."
            )
    model = home / values["pretrained_model_name_or_path"]
    told = checkpoint_family(model) if model.is_file() else None
    if told is not None and not fits(told, family):
        raise LikenessError(f"{model.name} is a checkpoint for {told}, and the set is for {family}: give another one.")
    if values.get("dataset_config"):
        _check_pictures(home / values["dataset_config"], home)


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


def newest_state(output: Path, name: str) -> Path | None:
    """The state with the most steps that the trainer has left for this name, `<name>[-stepN|-N]-state`."""
    rule, found = re.compile(re.escape(name) + r"(-\d{6,}|-step\d{8,})?-state"), []
    for path in output.glob("*-state"):
        if rule.fullmatch(path.name):
            steps = _steps_of(path)
            found += [] if steps is None else [(steps, path.stat().st_mtime_ns, path)]
    return max(found)[2] if found else None


def _steps_of(state: Path) -> int | None:
    """None for a state that was not written to its end: train_state.json comes first, the random states last."""
    if not any(p.stat().st_size for p in state.glob("random_states_*.pkl")):
        return None
    try:
        steps = json.loads(read_limited(state / "train_state.json", 4096)).get("current_step")
    except (LikenessError, ValueError, AttributeError):
        return None
    return steps if isinstance(steps, int) else None


def _state(output: Path, name: str, values: Mapping[str, Any]) -> Path:
    state = newest_state(output, name)
    if state is None:
        raise LikenessError(f"{output} holds no state of {name} to go on from: start without --resume.")
    done, wanted = _steps_of(state), str(values.get("max_train_steps", ""))
    if (
        re.fullmatch(r"[0-9]{1,9}", wanted)
        and done is not None
        and done >= int(wanted)
        and not values.get("max_train_epochs")
    ):
        raise LikenessError(
            f"{state.name} has {done} steps, all of the {wanted} that are wanted: raise them by "
            "--set max_train_steps=NUMBER, or start without --resume."
        )
    return state
