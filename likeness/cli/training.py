"""`likeness train`: kohya-ss/sd-scripts in its own Python, from a training set to a LoRA file that loads."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LikenessError, StorageError
from ..files import locked, make_folder, read_limited
from ..lora_file import LoraInfo, check_whole, checkpoint_family, fits
from .loras import register_file
from .output import say
from .places import Places
from .trainer import Ended, Progress, clean_environment, run_trainer

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
    "z_image": "lumina_train_network.py",
}
_MODELS = ("pretrained_model_name_or_path", "vae", "ae", "clip_l", "clip_g", "t5xxl", "gemma2", "network_weights")
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
_EVERY = 60.0  # seconds between two lines where nobody looks at a terminal
_CAUSES = (  # in the trainer's output -> what it means
    ("No data found", "it found no pictures: check the set with `likeness dataset check`, or build it again"),
    ("out of memory", "the GPU has too little memory: take a smaller side, batch size 1, or a smaller rank"),
    ("OutOfMemoryError", "the GPU has too little memory: take a smaller side, batch size 1, or a smaller rank"),
    ("No space left on device", "the disk is full: free some space and try again"),
    ("No module named", "its Python lacks a package: install sd-scripts' requirements there"),
    ("UnicodeDecodeError", "a caption or config file is not UTF-8: build the set again"),
    ("max_train_steps should be greater", "the state has all the steps already: raise max_train_steps"),
)


def add_training(command: Any) -> None:
    """`likeness train`."""
    parser = command("train", train, "train a LoRA from a training set, by kohya-ss/sd-scripts in its own Python")
    parser.add_argument("set", type=Path, help="folder of the training set, with its train_<family>.toml")
    parser.add_argument("--sd-scripts", type=Path, required=True, metavar="DIR", help="checkout of kohya-ss/sd-scripts")
    parser.add_argument("--python", type=Path, required=True, metavar="FILE", help="the Python that has its packages")
    parser.add_argument("--model", type=Path, metavar="FILE", help="checkpoint to train on; default: the config's")
    parser.add_argument("--family", choices=sorted(SCRIPTS), help="where the set has configs for several")
    parser.add_argument("--resume", action="store_true", help="go on from the newest state that was saved")
    option = "an option of the trainer that replaces the config's, e.g. max_train_steps=500; may be given several times"
    parser.add_argument("--set", dest="options", action="append", default=[], metavar="KEY=VALUE", help=option)
    parser.add_argument("--register", action="store_true", help="register the LoRA when it is there")
    parser.add_argument("--character", default="", metavar="NAME", help="whose it is; default: the set's")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show the command")


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


def train(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when no LoRA came of it."""
    job = job_of(arguments)
    shown = shlex.join(job.command)
    if arguments.dry_run:
        say(arguments, f"Everything is there. In {job.home} this would run:\n{shown}", {"command": list(job.command)})
        return 0
    with _alone(job.folder):
        info, log = run_job(job)
    values: dict[str, Any] = {"lora": str(job.lora), "family": job.family, "rank": info.rank, "log": str(log)}
    lines = [f"Trained {job.lora} (rank {info.rank}); the trainer's output is in {log}."]
    if arguments.register:
        made = register_file(places, job.slug, job.lora, job.family, training_set=job.folder.name)
        values |= {"version": made.version.version, "file": made.version.file}
        lines.append(made.report())
    else:
        lines.append(f"Register it: {register_command(job)}")
    say(arguments, "\n".join(lines), values)
    return 0


def register_command(job: Job) -> str:
    words = ["likeness", "lora", "register", str(job.lora), "--character", job.slug, "--training-set", job.folder.name]
    return shlex.join(words)


def run_job(job: Job) -> tuple[LoraInfo, Path]:
    """(the LoRA, the log). LikenessError unless the trainer has left a new file that loads."""
    log = make_folder(job.folder / "logs") / time.strftime(f"train_{job.family}_%Y%m%d-%H%M%S.log")
    before, shows = _stamp(job.lora), _Shows(job)
    try:
        ended = run_trainer(job.command, job.home, log, shows)
    except KeyboardInterrupt:
        shows.end()
        print(f"Training was stopped. {_how_to_go_on(job)}", file=sys.stderr)
        raise
    shows.end()
    return _result(job, ended, log, before), log


def _result(job: Job, ended: Ended, log: Path, before: object) -> LoraInfo:
    """Exit status 0 alone is no success: the trainer ends with 0 when it finds no pictures."""
    text = "\n".join(ended.lines)
    cause = next((meaning for sign, meaning in _CAUSES if sign in text), "")
    last = " | ".join(ended.lines[-4:]) or "it wrote nothing"
    more = f"{cause}. " if cause else f"its last lines: {last}. "
    if ended.code != 0:
        where = f" at {ended.progress}" if ended.progress else ""
        raise LikenessError(f"The trainer ended with status {ended.code}{where}: {more}See {log}. {_how_to_go_on(job)}")
    if _stamp(job.lora) in (None, before):
        raise LikenessError(f"The trainer ended, and there is no new {job.lora}: {more}See {log}.")
    return check_whole(job.lora)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


class _Shows:
    """One line for a person who looks, or a line now and then for a log."""

    def __init__(self, job: Job) -> None:
        self._on_terminal, self._next, self._warned = sys.stderr.isatty(), 0.0, False
        resumed = f", from {job.state.name}" if job.state else ""
        print(f"Training {job.name} on {job.family}{resumed} ...", file=sys.stderr, flush=True)

    def __call__(self, news: Progress | None) -> None:
        if news is None:
            return
        if news.loss is not None and not math.isfinite(news.loss) and not self._warned:
            self._warned = True
            print(
                "\nThe loss is no number any more: stop it, and lower the learning rate.", file=sys.stderr, flush=True
            )
        if self._on_terminal:
            print(f"\r\033[K  {news}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() >= self._next or news.step == news.of:
            self._next = time.monotonic() + _EVERY
            print(f"  {news}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._on_terminal:
            print(file=sys.stderr)


def _how_to_go_on(job: Job) -> str:
    state = newest_state(job.output, job.name)
    if state is None:
        return "No state was saved, so it begins anew the next time (save_state in the config keeps one)."
    return f"Go on from {state.name} with the same command and --resume."


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with locked(make_folder(folder / "logs") / "train.lock", seconds=0.5):
            yield
    except StorageError as error:
        if "still using" not in str(error):
            raise
        raise LikenessError(f"Another training of {folder} is running: wait for it, or stop it.") from error


# ---- what is checked before anything is started


def job_of(arguments: argparse.Namespace) -> Job:
    """LikenessError for what is missing, in one sentence."""
    folder, home, python = (p.absolute() for p in (arguments.set, arguments.sd_scripts, arguments.python))
    config, family = config_of(folder, arguments.family)
    options = _options(arguments)
    values = {**settings_of(config), **options}
    script = _script(home, family)
    _check_python(python, home)
    slug, title = _set_names(folder)
    if not values.get("output_dir"):
        options["output_dir"] = values["output_dir"] = str(folder / "output")
    if not values.get("output_name"):
        options["output_name"] = values["output_name"] = title
    output, name = home / str(values["output_dir"]), str(values["output_name"])
    state = _state(output, name, values) if arguments.resume else None
    if state is not None:
        options["resume"] = str(state)
    _check_files(values, home, family)
    _check_room(output)
    flags = [
        part for key, value in options.items() for part in ([f"--{key}"] if value == "true" else [f"--{key}", value])
    ]
    flags += ["--skip_until_initial_step"] if state is not None else []
    command = (str(python), str(script), "--config_file", str(config), "--console_log_simple", *flags)
    return Job(folder, family, arguments.character or slug, command, home, output, name, state)


def _options(arguments: argparse.Namespace) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in arguments.options:
        key, found, value = text.partition("=")
        if not found or not key.replace("_", "").isalnum():
            raise LikenessError(f"--set {text} is no option: write it as key=value, for example max_train_steps=500.")
        options[key] = value
    if arguments.model is not None:
        options["pretrained_model_name_or_path"] = str(arguments.model.absolute())
    return options


def config_of(folder: Path, family: str | None) -> tuple[Path, str]:
    """(config file, family) of a set."""
    if not folder.is_dir():
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
    if not script.is_file():
        raise LikenessError(
            f"{home} holds no {SCRIPTS[family]}: give the folder of kohya-ss/sd-scripts by --sd-scripts."
        )
    return script


def _check_python(python: Path, home: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {_NEEDS!r} if u.find_spec(n) is None])"
    try:
        command = [str(python), "-c", code]
        place: dict[str, Any] = {"cwd": home, "env": clean_environment(os.environ)}
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **place)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LikenessError(f"{python} does not run ({error}): give sd-scripts' own Python by --python.") from error
    if ran.returncode != 0:
        raise LikenessError(f"{python} is no Python that runs: {ran.stderr.strip()[-200:]}")
    if ran.stdout.strip() != "[]":
        raise LikenessError(
            f"{python} lacks {ran.stdout.strip()}: install the requirements of sd-scripts there, in an environment of "
            "its own, never in ComfyUI's."
        )


def _check_files(values: Mapping[str, Any], home: Path, family: str) -> None:
    """Every file that the settings name; a name that is no file would be downloaded, or trained without in silence."""
    if not values.get("pretrained_model_name_or_path"):
        raise LikenessError("The config names no model to train on: give a checkpoint by --model.")
    for key in (*_MODELS, "dataset_config", "train_data_dir", "reg_data_dir", "sample_prompts"):
        if (name := values.get(key)) and not (home / str(name)).exists():
            raise LikenessError(
                f"{key}: there is no {name}. Give another one by --set {key}=FILE, or build the set again."
            )
    model = home / str(values["pretrained_model_name_or_path"])
    told = checkpoint_family(model) if model.is_file() else None
    if told is not None and not fits(told, family):
        raise LikenessError(f"{model.name} is a checkpoint for {told}, and the set is for {family}: give another one.")
    if values.get("dataset_config"):
        _check_pictures(home / str(values["dataset_config"]), home)


def _check_pictures(config: Path, home: Path) -> None:
    datasets = _toml(config).get("datasets", [])
    subsets = [s for d in datasets if isinstance(d, dict) for s in d.get("subsets", []) if isinstance(s, dict)]
    for folder in (str(s.get("image_dir", "")) for s in subsets):
        if not folder or not (home / folder).is_dir():
            raise LikenessError(
                f"{config.name} names {folder or 'no folder'}, which is not there: build the set again."
            )


def _check_room(output: Path) -> None:
    place = next(p for p in (output, *output.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < _ROOM:
        raise LikenessError(
            f"Only {free / 2**30:.1f} GB are free in {place}, and a training needs {_ROOM >> 30}: make room."
        )


def _set_names(folder: Path) -> tuple[str, str]:
    """(slug of the character, name of the set), from set.json; else from the folders, <slug>/<set>."""
    try:
        told = json.loads(read_limited(folder / "set.json", _MAX_SET))
        told = told.get("plan", told) if isinstance(told, dict) else {}
    except (LikenessError, ValueError, RecursionError):
        told = {}
    slug = told.get("slug") if isinstance(told, dict) else None
    return str(slug or folder.parent.name), folder.name


def newest_state(output: Path, name: str) -> Path | None:
    """The state with the most steps that the trainer has left for this name, `<name>[-stepN|-N]-state`."""
    found = []
    for path in output.glob("*-state"):
        rest = path.name.removesuffix("-state").removeprefix(name)
        if path.name.startswith(name) and (not rest or rest.lstrip("-").removeprefix("step").isdigit()):
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
    if wanted.isdigit() and done is not None and done >= int(wanted) and not values.get("max_train_epochs"):
        raise LikenessError(
            f"{state.name} has {done} steps, all of the {wanted} that are wanted: raise them by "
            "--set max_train_steps=NUMBER, or start without --resume."
        )
    return state
