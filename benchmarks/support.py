"""What the benchmarks share: the packages by path, random adapters of every variant, paired timing, JSON.

The random UNets and adapters are those of tests/faceid, so that everything runs without any model file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
HELPERS = ROOT / "tests" / "faceid"
CHECKOUT = "LIKENESS_IPADAPTER_PLUS"  # environment variable: a checkout of cubiq/ComfyUI_IPAdapter_plus

# ComfyUI's import of `nodes` must find its own file, so this repository's root is never on the path.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
if str(HELPERS) not in sys.path:
    sys.path.append(str(HELPERS))


def package(name: str, folder: Path | None = None) -> ModuleType:
    """A package loaded from its folder, once per process, without a change of sys.path."""
    if name in sys.modules:
        return sys.modules[name]
    where = folder or ROOT / name
    spec = importlib.util.spec_from_file_location(name, where / "__init__.py", submodule_search_locations=[str(where)])
    if spec is None or spec.loader is None or not (where / "__init__.py").is_file():
        sys.exit(f"{where} is no Python package: __init__.py is not there.")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def comfyui(device: str = "cpu") -> None:
    """Make ComfyUI importable and its device this one, or end the program with what is missing."""
    import comfy_unet

    if device == "cpu":
        reason = comfy_unet.import_comfyui()
    elif not torch.cuda.is_available():
        reason = "torch sees no CUDA device here; use --device cpu."
    else:
        where = comfy_unet.find_comfyui()
        reason = "" if where else "no ComfyUI found; set COMFYUI_PATH to its folder"
        sys.path.insert(0, str(where))
    if reason:
        sys.exit(f"This benchmark runs inside ComfyUI: {reason}")


@dataclass(frozen=True)
class Variant:
    """One published kind of FaceID adapter."""

    family: str  # "sd15" | "sdxl"
    kind: str  # "mlp" | "plus" | "resampler"
    file: str  # its published name, from which IPAdapter_plus takes its flags
    tokens: int = 4
    shortcut: bool = False  # Plus V2

    @property
    def plus(self) -> bool:
        return self.kind == "plus"

    @property
    def raw(self) -> bool:
        """Reads the embedding as the recogniser gives it, not the normed one."""
        return self.kind == "resampler"

    @property
    def crop(self) -> int:
        """Size of the face crop that IPAdapter_plus gives to the image encoder, pixels."""
        return 256 if self.family == "sdxl" else 224


VARIANTS = {
    "FaceID sd15": Variant("sd15", "mlp", "ip-adapter-faceid_sd15.bin"),
    "Plus sd15": Variant("sd15", "plus", "ip-adapter-faceid-plus_sd15.bin"),
    "Plus V2 sd15": Variant("sd15", "plus", "ip-adapter-faceid-plusv2_sd15.bin", shortcut=True),
    "Portrait sd15": Variant("sd15", "mlp", "ip-adapter-faceid-portrait-v11_sd15.bin", tokens=16),
    "FaceID sdxl": Variant("sdxl", "mlp", "ip-adapter-faceid_sdxl.bin"),
    "Plus V2 sdxl": Variant("sdxl", "plus", "ip-adapter-faceid-plusv2_sdxl.bin", shortcut=True),
    "Portrait sdxl": Variant("sdxl", "mlp", "ip-adapter-faceid-portrait_sdxl.bin", tokens=16),
    "Portrait unnorm sdxl": Variant("sdxl", "resampler", "ip-adapter-faceid-portrait_sdxl_unnorm.bin", tokens=16),
}


@cache
def state_dict(name: str, hidden: tuple[int, ...] | None = None, rank: int = 4) -> dict[str, Tensor]:
    """A flat random adapter of the variant, float16; the widths of the small UNet unless others are given."""
    import random_adapter

    v = VARIANTS[name]
    rank = 0 if v.tokens == 16 else rank  # Portrait files carry no LoRA, and are told from the others by that
    if v.kind != "resampler":
        return random_adapter.state_dict(v.family, v.kind, tokens=v.tokens, hidden=hidden, rank=rank)
    flat = random_adapter.state_dict(v.family, "mlp", tokens=v.tokens, hidden=hidden)
    layers = {key: value for key, value in flat.items() if key.startswith("ip_adapter.")}
    return {**_unnorm_projection(v.tokens), **layers}


def _unnorm_projection(tokens: int, dim: int = 1280, out: int = 2048) -> dict[str, Tensor]:
    """The Resampler of Portrait unnorm: dim latents read the raw embedding as a sequence of one."""
    from random_adapter import numbers

    shapes: dict[str, tuple[int, ...]] = {"proj_in": (dim, 512), "proj_out": (out, dim)}
    made = {"latents": numbers("unnorm/latents", (1, tokens, dim), 0.5)}
    for i in range(4):
        at = f"layers.{i}."
        for norm in ("0.norm1", "0.norm2", "1.0"):
            made |= _norm(at + norm, dim)
        shapes |= {at + "0.to_q": (dim, dim), at + "0.to_kv": (2 * dim, dim), at + "0.to_out": (dim, dim)}
        shapes |= {at + "1.1": (4 * dim, dim), at + "1.3": (dim, 4 * dim)}
    made |= _norm("norm_out", out)
    for key, shape in shapes.items():
        made[key + ".weight"] = numbers(f"unnorm/{key}.weight", shape, shape[1] ** -0.5)
        if key.startswith("proj"):
            made[key + ".bias"] = numbers(f"unnorm/{key}.bias", shape[:1], 0.1)
    return {f"image_proj.{key}": value for key, value in made.items()}


def _norm(key: str, width: int) -> dict[str, Tensor]:
    from random_adapter import numbers

    weight, bias = numbers(f"unnorm/{key}.weight", (width,), 0.1, 1.0), numbers(f"unnorm/{key}.bias", (width,), 0.1)
    return {key + ".weight": weight, key + ".bias": bias}


def write_adapter(
    name: str, folder: Path, hidden: tuple[int, ...] | None = None, rank: int = 4, full: bool = False
) -> Path:
    """The variant's file under its published name; with `full` of its published size, else with shared storages."""
    from random_adapter import nested

    path = folder / VARIANTS[name].file
    if not path.is_file():
        flat = state_dict(name, hidden, rank)
        torch.save(nested({k: v.clone() for k, v in flat.items()} if full else flat), path)
    return path


def compiled_identity(name: str, hidden: tuple[int, ...] | None = None) -> Any:
    """One random face compiled for the variant's random adapter."""
    import random_adapter

    faceid, v = package("faceid"), VARIANTS[name]
    adapter = faceid.read_adapter(state_dict(name, hidden), name=v.file)
    embedding = random_adapter.embedding() * (20.0 if v.raw else 1.0)
    face = faceid.FaceInputs(embedding, random_adapter.hidden_states(1) if v.plus else None)
    nobody = faceid.FaceInputs(torch.zeros(1, 512), random_adapter.hidden_states(2)) if v.plus else None
    return faceid.compile_identity(adapter, faceid.identity_tokens(adapter, face, nobody), identity="benchmark")


def random_vision(seed: int = 0) -> Any:
    """ComfyUI's own CLIP-Vision class, random, with hidden states as wide as ViT-H's; two layers instead of 32."""
    import comfy.clip_vision

    file = Path(comfy.clip_vision.__file__).with_name("clip_vision_config_h.json")
    smaller = {"num_hidden_layers": 2, "intermediate_size": 1280}
    vision = comfy.clip_vision.ClipVisionModel({**json.loads(file.read_text()), **smaller})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, weight in vision.model.named_parameters():
            if weight.ndim > 1:
                scale = 0.3 if "embedding.weight" in key else weight[0].numel() ** -0.5
                weight.normal_(0.0, scale, generator=generator)
            else:
                weight.normal_(1.0 if key.endswith("weight") else 0.0, 0.05, generator=generator)
    return vision


def real_widths(family: str) -> tuple[int, ...]:
    """Hidden width of every cross-attention of the published models, adapter order: down, up, middle."""
    if family == "sd15":
        return (320, 320, 640, 640, 1280, 1280) + (1280,) * 3 + (640,) * 3 + (320,) * 3 + (1280,)
    return (640,) * 4 + (1280,) * 20 + (1280,) * 30 + (640,) * 6 + (1280,) * 10


@dataclass(frozen=True)
class Ratio:
    """Quotients of paired runs."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    pairs: int

    @staticmethod
    def of(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
        found = [a / b for a, b in zip(numerators, denominators, strict=True)]
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
        return Ratio(middle, low, high, len(found))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of each function: all of them once per round, the order rotated, so that load hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for name in names:
        runs[name]()  # warm up
    for i in range(repeats):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            taken[name].append(seconds(runs[name], device))
    return taken


def seconds(function: Callable[[], object], device: str = "cpu") -> float:
    """CPU time of this process on a CPU (other programs do not count), wall time to the last kernel on a GPU."""
    if device == "cpu":
        begun = time.process_time()
        function()
        return time.process_time() - begun
    torch.cuda.synchronize()
    begun = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def arguments(text: str, *, checkout: bool = True) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to this file")
    if checkout:
        parser.add_argument(
            "--ipadapter-plus",
            type=Path,
            metavar="CHECKOUT",
            default=os.environ.get(CHECKOUT),
            help=f"compare with this checkout of ComfyUI_IPAdapter_plus (default: ${CHECKOUT})",
        )
    return parser


def machine(device: str = "cpu") -> dict[str, str]:
    """What the numbers depend on and a reader cannot see from them."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {"torch": torch.__version__, "device": name, "python": sys.version.split()[0]}


def write_json(path: Path | None, numbers: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(numbers, indent=1, default=vars) + "\n", encoding="utf-8")
        print(f"written: {path}")
