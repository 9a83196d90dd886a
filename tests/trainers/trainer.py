"""A real trainer as the tests use it: its Python runs our small programs of `inside/` in its folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).parent / "inside"
_NARROWER = (  # file, its line, ours: a thirtieth of the weights, with the names and the text width of SD 1.5
    ("library/original_unet.py", r"^BLOCK_OUT_CHANNELS: .*$", "BLOCK_OUT_CHANNELS = (32, 64, 128, 128)"),
    ("library/model_util.py", r"^UNET_PARAMS_MODEL_CHANNELS = .*$", "UNET_PARAMS_MODEL_CHANNELS = 32"),
    ("library/model_util.py", r"^VAE_PARAMS_CH = .*$", "VAE_PARAMS_CH = 32"),
    ("library/model_util.py", r"num_hidden_layers=12", "num_hidden_layers=1"),
)
_TRANSFORMS = """
import numpy, torch
class Compose:
    def __init__(self, steps): self.steps = steps
    def __call__(self, x):
        for step in self.steps: x = step(x)
        return x
class ToTensor:
    def __call__(self, x): return torch.from_numpy(numpy.array(x)).permute(2, 0, 1).float() / 255
class Normalize:
    def __init__(self, mean, std): self.mean, self.std = mean[0], std[0]
    def __call__(self, x): return (x - self.mean) / self.std
class Resize: pass
class InterpolationMode: BILINEAR = "bilinear"; BICUBIC = "bicubic"; LANCZOS = "lanczos"
"""


@dataclass(frozen=True)
class Trainer:
    """A checkout and its Python."""

    home: Path
    python: str
    extra: Path  # packages that are not installed there and hardly used

    def run(self, *words: str, seconds: float = 280.0) -> subprocess.CompletedProcess[str]:
        """A program in the trainer's folder, without network and on one core."""
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        own = {"PYTHONPATH": os.pathsep.join([str(self.home), str(self.home / "src"), str(self.extra)])}
        own |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "400"}
        return subprocess.run(
            [self.python, *words],
            cwd=self.home,
            env={**clean, **own},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )

    def ask(self, program: str, question: Any) -> Any:
        """What a program of `inside/` answers: JSON in, JSON out, on the last line."""
        ran = self.run(str(INSIDE / program), json.dumps(question))
        assert ran.returncode == 0, ran.stderr[-3000:]
        return json.loads(ran.stdout.strip().splitlines()[-1])


def stand_ins(python: str, folder: Path) -> Path:
    """What the trainers import and hardly use, where it is not installed: three small classes of torchvision."""
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode:
        transforms = folder / "torchvision" / "transforms"
        transforms.mkdir(parents=True)
        (transforms.parent / "__init__.py").write_text("from . import transforms\n")
        (transforms / "__init__.py").write_text(_TRANSFORMS)
        (transforms / "functional.py").write_text("")
    return folder


def narrow_copy(trainer: Trainer, comfy_path: Path, folder: Path) -> tuple[Trainer, Path, Path]:
    """(a copy of sd-scripts that trains a narrow SD 1.5, such a model, folder of its tokenizer)."""
    home = folder / "sd-scripts"
    shutil.copytree(trainer.home, home, ignore=shutil.ignore_patterns(".git", "docs", "tests", "__pycache__"))
    for file, line, ours in _NARROWER:
        text, count = re.subn(line, ours, (home / file).read_text(encoding="utf-8"), flags=re.M)
        assert count, f"{file} has changed"
        (home / file).write_text(text, encoding="utf-8")
    copy, model = replace(trainer, home=home), folder / "narrow.safetensors"
    made = copy.run(str(INSIDE / "make_narrow.py"), str(model))
    assert made.returncode == 0, made.stderr[-3000:]
    words = folder / "tokenizer" / "openai_clip-vit-large-patch14"
    shutil.copytree(comfy_path / "comfy" / "sd1_tokenizer", words)
    told = json.loads((words / "tokenizer_config.json").read_text())
    (words / "tokenizer_config.json").write_text(json.dumps({**told, "model_max_length": 77}))
    return copy, model, folder / "tokenizer"
