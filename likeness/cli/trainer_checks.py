"""Whether a trainer can start with what it is given: its Python, its options, its model files. Asked before a start."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import LikenessError, quoted
from ..files import read_limited
from .trainer import clean_environment, plain_text

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
_BYTES = "bitsandbytes"  # of the optimizers with 8 bits, such as our configs' AdamW8bit
_TORCH = ("torch", "torchvision")  # of which requirements.txt names no version, and which must fit each other
_SECONDS = 120.0  # for the trainer's imports; what takes longer is left to the trainer
_MAX_SCRIPT = 16 << 20  # bytes
_OTHER_HEADS = (b"PK\x03\x04", b"\x80")  # of torch's files since 1.6, and before
_INSTALL = "INSTALL"  # stands for the command below
_MISFIT = "its torch and torchvision do not fit each other: install both in one call, from one index"
_MEMORY = "the GPU has too little memory: take a smaller side, batch size 1, or a smaller rank"
_CAUSES = (  # in the trainer's output -> what it means
    ("No data found", "it found no pictures: check the set with `likeness dataset check`, or build it again"),
    ("out of memory", _MEMORY),
    ("OutOfMemoryError", _MEMORY),
    ("No space left on device", "the disk is full: free some space and try again"),
    ("No module named", f"its Python lacks a package: run `{_INSTALL}` in sd-scripts' folder"),
    ("torchvision::nms does not exist", _MISFIT),
    ("UnicodeDecodeError", "a caption or config file is not UTF-8: build the set again"),
    ("max_train_steps should be greater", "the state has all the steps already: raise max_train_steps"),
)
_FIND = """
import importlib.metadata as m, importlib.util as u, json, sys
lacks = [name for name in sys.argv[1:] if u.find_spec(name) is None]
try: torch = m.version("torch")
except m.PackageNotFoundError: torch = ""
print(json.dumps([lacks, torch]))
"""
_PARSE = """
import importlib, json, sys
parser = importlib.import_module(sys.argv[1]).setup_parser()
known = {a.dest for a in parser._actions}
parser.parse_args(sys.argv[3:])
print(json.dumps([key for key in json.loads(sys.argv[2]) if key not in known]))
"""  # argparse itself says what is wrong with an option, and ends with status 2


def cause_in(output: str, python: str) -> str:
    """What the trainer's output means, and what to do; "" where it is not known."""
    found = next((meaning for sign, meaning in _CAUSES if sign in output), "")
    return found.replace(_INSTALL, _pip(python, "-r", "requirements.txt"))


# ---- its Python


def program_named(name: str) -> Path:
    """As a shell finds it: a name alone on PATH, anything else from here. Links stay: they are how venvs are told."""
    if any(mark in name for mark in (os.sep, os.altsep) if mark):
        return Path(name).absolute()
    found = shutil.which(name)
    if found is None:
        raise LikenessError(f"--python: there is no {quoted(name)} on PATH: give the whole path of sd-scripts' Python.")
    return Path(found).absolute()


def check_python(python: Path, home: Path, optimizer: str = "") -> None:
    """LikenessError where it does not run, or lacks a package, of which some optimizers have one of their own."""
    try:
        ran = _asked(python, home, _FIND, *_NEEDS, *([_BYTES] if "8bit" in optimizer.lower() else []))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a NUL
        raise LikenessError(f"{python} does not run ({error}): give sd-scripts' own Python by --python.") from error
    try:
        lacks, torch = json.loads(_last(ran.stdout))  # what its own start prints comes before
    except (ValueError, TypeError):
        lacks = None
    if ran.returncode != 0 or not isinstance(lacks, list):
        told = plain_text(ran.stderr or ran.stdout).strip()[-200:] or "it says nothing"
        raise LikenessError(f"{python} is no Python that runs: {told}. Give sd-scripts' own Python by --python.")
    if lacks:
        names = ", ".join(map(str, lacks))
        instead = " Or train without it: --set optimizer_type=AdamW." if lacks == [_BYTES] else ""
        raise LikenessError(
            f"{python} lacks {plain_text(names)}: in an environment of its own, never in ComfyUI's, run "
            f"{_install(str(python), lacks, str(torch))} in {home}.{instead}"
        )


def _install(python: str, lacks: Sequence[str], torch: str) -> str:
    """The commands, in the order in which they are run. `torch`: its version, "2.11.0+cu128", or ""."""
    commands = []
    if "torch" in lacks:
        commands.append(f"`{_pip(python, *_TORCH)}` (as pytorch.org says for your GPU)")
    elif "torchvision" in lacks:  # of the same index as its torch, or the two do not fit
        index = torch.partition("+")[2]
        where = ["--index-url", f"https://download.pytorch.org/whl/{index}"] if index else []
        commands.append(f"`{_pip(python, *([f'torch=={torch}'] if torch else []), 'torchvision', *where)}`")
    if set(lacks) - set(_TORCH):
        commands.append(f"`{_pip(python, '-r', 'requirements.txt')}`")
    return ", then ".join(commands)


def _pip(python: str, *words: str) -> str:
    return plain_text(shlex.join([python, "-m", "pip", "install", *words]))


def _asked(python: Path, home: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What a small program of ours says in the trainer's folder."""
    return subprocess.run(
        [str(python), "-c", program, *words],
        capture_output=True,
        check=False,
        cwd=home,
        env=clean_environment(os.environ),
        encoding="utf-8",
        errors="replace",
        timeout=_SECONDS,
        stdin=subprocess.DEVNULL,
    )


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


# ---- its options


def check_options(python: Path, script: Path, config: Path, keys: Collection[str], flags: Sequence[str]) -> None:
    """LikenessError where the trainer's parser refuses `flags`, or knows no option of a name among the config's `keys`.

    The script is imported, not run. One without a `setup_parser`, or too slow to tell, is not asked.
    """
    if b"def setup_parser(" not in read_limited(script, _MAX_SCRIPT):
        return
    try:
        ran = _asked(python, script.parent, _PARSE, script.stem, json.dumps(list(keys)), *flags)
    except subprocess.TimeoutExpired:
        return
    last = plain_text(_last(ran.stderr))
    if ran.returncode == 2 and "error: " in last:
        raise LikenessError(f"{script.name} refuses an option of --set: {last.partition('error: ')[2][:300]}.")
    try:
        strange = json.loads(_last(ran.stdout)) if ran.returncode == 0 else None
    except ValueError:  # `--help` ends it with 0
        strange = None
    if not isinstance(strange, list):
        why = cause_in(ran.stderr, str(python))
        told = f"{last[:300] or 'it says nothing'}{f'; {why}' if why else ''}"
        raise LikenessError(f"{script.name} does not start with {python}: {told}.")
    if strange:
        raise LikenessError(
            f"{config}: {script.name} knows no option {quoted(strange[0])} and would train without it: correct it, or "
            "take it out."
        )


# ---- its models


def check_model(key: str, path: Path) -> None:
    """LikenessError for a file, named by the option `key`, that cannot hold a model. Its numbers are not read."""
    wrong = _wrong_with(path)
    if wrong:
        raise LikenessError(f"{key}: {path.name} {wrong}: download it again, or give another file.")


def _wrong_with(path: Path) -> str:
    """What is; "" for nothing."""
    try:
        if path.suffix.lower() != ".safetensors":  # not opened: opening it can run programs
            with path.open("rb") as f:
                return "" if f.read(4).startswith(_OTHER_HEADS) else "is no file of models"
        with safe_open(path, framework="numpy") as file:
            return "" if file.keys() else "holds no tensors"
    except SafetensorError as error:
        return "is cut short" if "incomplete" in str(error).lower() else "is no safetensors file"
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        return f"cannot be read ({why})" if why else "is no safetensors file"
