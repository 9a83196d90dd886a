"""A trainer that only pretends, for tests of `likeness train`: a set, a checkout, a script that does as it is told."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from likeness.cli import trainer_checks, training
from likeness.cli.training import add_training

from .lora_files import lora_file, notes

FAKE = """
import json, os, shutil, subprocess, sys, time, tomllib
told = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:] if "=" in a)
json.dump({{"argv": sys.argv, "cwd": os.getcwd(), "path": os.environ.get("PYTHONPATH"), "pid": os.getpid(),
           "stdin": sys.stdin.read(), "group": os.getpgid(0),
           "python": sorted(k for k in os.environ if k.startswith("PYTHON"))}}, open({about!r}, "w"))
def steps(first, last, of, loss="0.1234"):
    for i in range(first, last + 1):
        told = f"{{i}}/{{of}} [00:0{{i % 10}}<00:06,  3.41s/it, avr_loss={{loss}}]"
        print(f"\\rsteps: {{100 * i // of:3d}}%|####      | {{told}}", end="", file=sys.stderr, flush=True)
def child(code="import time; time.sleep(600)"):
    made = subprocess.Popen([sys.executable, "-c", code])
    open({about!r} + ".child", "w").write(str(made.pid))
def lora():
    os.makedirs(told["output_dir"], exist_ok=True)
    shutil.copyfile({lora!r}, os.path.join(told["output_dir"], told["output_name"] + ".safetensors"))
print("INFO prepare", file=sys.stderr)
"""


class Setup(SimpleNamespace):
    """A set, a pretended sd-scripts, and what the trainer wrote about its start."""

    set: Path
    home: Path
    about: Path

    def started(self) -> dict[str, Any]:
        return json.loads(self.about.read_text())

    def child(self) -> int:
        return int(Path(f"{self.about}.child").read_text())


def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(trainer_checks, "_NEEDS", ("json",))
    monkeypatch.setenv("PYTHONPATH", "/somewhere/of/ours")
    folder, home = tmp_path / "output" / "ada" / "first set", tmp_path / "sd scripts"
    (folder / "img" / "10_adaray woman").mkdir(parents=True)
    home.mkdir()
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")  # of no family
    lora_file(tmp_path / "made.safetensors", told=notes("adaray woman"))
    picture = json.dumps(str(folder / "img" / "10_adaray woman"))
    (folder / "dataset.toml").write_text(f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {picture}\n")
    config = {
        "pretrained_model_name_or_path": tmp_path / "model.safetensors",
        "dataset_config": folder / "dataset.toml",
    }
    lines = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in config.items())
    (folder / "train_sd15.toml").write_text(f"[model]\n{lines}[steps]\nmax_train_steps = 6\n")
    return Setup(set=folder, home=home, about=tmp_path / "about.json", base=tmp_path)


def pretend(setup: Setup, code: str) -> None:
    """The trainer does this."""
    head = FAKE.format(about=str(setup.about), lora=str(setup.base / "made.safetensors"))
    (setup.home / "train_network.py").write_text(head + textwrap.dedent(code))


def parsed(setup: Setup, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()

    def command(name: str, function: Callable[..., int], text: str) -> argparse.ArgumentParser:
        parser.add_argument("--json", action="store_true")
        return parser

    add_training(command)
    given = [str(setup.set), "--sd-scripts", str(setup.home), "--python", sys.executable, *words]
    return parser.parse_args(given)


def train(setup: Setup, *words: str, places: Any = None) -> int:
    return training.train(parsed(setup, *words), places)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)
