"""From "queue" to the first step with a face: time and peak memory, ours and IPAdapter_plus's.

    python benchmarks/queue_to_first_step.py --ipadapter-plus CHECKOUT [--family sdxl] [--variant "Plus V2"]
                                             [--device cpu|cuda] [--repeats 3] [--json FILE]
                                             [--photo FILE --face-models DIR]

ComfyUI runs and nothing of the character is loaded. Ours: open the character, read its compiled identity, patch
the model. Theirs: find the face, load CLIP-Vision and the adapter, encode, project, patch. "again" is the same
queue with another weight. Every run is a process of its own, ours and theirs alternately.

Model files have random numbers in their published shape and size. They were just written, so they come from the
disk cache. The UNet has no numbers here; it costs both the same. Without --photo a recorded face stands in for
InsightFace and takes 0 s; with it the installed package finds the face, with its buffalo_l below DIR/models.
Peak memory is what the process needed on top of a ComfyUI that had everything imported.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layers
import support
import torch
from parity import recorded
from reference_pack import Analyser, ReferencePack
from support import ROOT, VARIANTS, Ratio

VISION = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
IDENTITY = "identity.safetensors"
RANK = 128  # of the LoRA inside the published files
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def prepare(name: str, folder: Path, theirs: bool) -> None:
    """The files of both: a compiled identity, an adapter, an image encoder."""
    hidden = support.real_widths(VARIANTS[name].family)
    compiled = support.compiled_identity(name, hidden)
    (folder / IDENTITY).write_bytes(support.package("faceid").to_bytes(compiled))
    if theirs:
        support.write_adapter(name, folder, hidden, RANK, full=True)
        write_vision(folder / VISION)


def write_vision(path: Path) -> None:
    """A random ViT-H in float16, 1.3 GB like the real one."""
    import safetensors.torch

    sys.path.append(str(ROOT / "tools"))
    standins = importlib.import_module("make_standins")
    weights = standins.packed(standins.vit_h(), 0, "vit_h")
    safetensors.torch.save_file({k: v.clone() for k, v in weights.items()}, path)


# ---- in a process of its own


class Stages:
    """Seconds of each stage, and the memory on top of what was there before."""

    def __init__(self, device: str):
        self.device, self.seconds = device, {}
        _reset_peak(device)
        self.before, self.gpu_before = _resident(), torch.cuda.memory_allocated() if device == "cuda" else 0

    def run(self, name: str, function: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        made = function()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - begun
        return made

    def report(self) -> dict[str, Any]:
        peak = max(_peak() - self.before, 0)
        found = {"seconds": self.seconds, "peak_ram": peak, "held_ram": max(_resident() - self.before, 0)}
        if self.device == "cuda":
            both = {"peak_gpu": torch.cuda.max_memory_allocated(), "held_gpu": torch.cuda.memory_allocated()}
            found |= {name: value - self.gpu_before for name, value in both.items()}
        return found


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.zeros(1, device="cuda")  # the context itself is not the pack's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if _RESET.exists():
        _RESET.write_text("5")


def _status(field: str) -> int:
    """Bytes; without Linux's /proc the highest that this process ever held."""
    if not _STATUS.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def child_ours(name: str, folder: Path, device: str) -> dict[str, Any]:
    from comfy.ldm.modules.attention import optimized_attention

    faceid = support.package("faceid")
    support.package("likeness")
    characters, library = (importlib.import_module(f"likeness.{m}") for m in ("character", "library"))
    model, attentions = _stage(name, device)
    stages = Stages(device)
    shelf = library.Library([ROOT / "sample" / "characters"])
    character = stages.run("open the character", lambda: characters.open_character(shelf, "mara_voss"))
    stages.run("average its faces", lambda: character.identity)
    compiled = stages.run("read compiled identity", lambda: faceid.from_bytes((folder / IDENTITY).read_bytes()))

    def apply(weight: float) -> Any:
        controls = faceid.Controls(weight=weight, weight_v2=1.5)
        return faceid.apply_identity(model, compiled, controls, attention=optimized_attention)

    patched = stages.run("patch", lambda: apply(0.8))
    stages.run("attentions of the first step", lambda: attentions.run(patched))
    found = stages.report()
    found["again"] = _seconds(lambda: apply(0.9))
    return found


def child_theirs(name: str, folder: Path, device: str, options: argparse.Namespace) -> dict[str, Any]:
    import comfy.clip_vision

    pack = ReferencePack(Path(options.ipadapter_plus))
    photo = _photo(options.photo) if options.photo else None
    model, attentions = _stage(name, device)
    stages = Stages(device)
    analyser: Any = Analyser([recorded(0)])
    if photo is not None:
        analyser = stages.run("load InsightFace", lambda: _insightface(options.face_models, device))
    vision = stages.run("load CLIP-Vision", lambda: comfy.clip_vision.load(str(folder / VISION)))
    adapter = stages.run("load the adapter", lambda: pack.load(folder / VARIANTS[name].file))

    def apply(weight: float) -> Any:
        return pack.apply(model, adapter, vision, analyser, image=photo, weight=weight, weight_faceidv2=1.5)

    patched = stages.run("find, encode, project, patch", lambda: apply(0.8))
    stages.run("attentions of the first step", lambda: attentions.run(patched))
    found = stages.report()
    found["again"] = _seconds(lambda: apply(0.9))
    return found


def _stage(name: str, device: str) -> tuple[Any, layers.AttentionAlone]:
    family = VARIANTS[name].family
    dtype = torch.float32 if device == "cpu" else torch.float16
    model = layers.unet(family, "meta", dtype)
    attentions = layers.AttentionAlone(family, 128, device, dtype)
    attentions.run(model)  # the first call of any kernel
    return model, attentions


def _seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def _photo(path: Path) -> torch.Tensor:
    support.package("likeness")
    pixels = importlib.import_module("likeness.images").read(path)
    return torch.from_numpy(pixels / 255.0).float()[None]


def _insightface(folder: Path, device: str) -> Any:
    app = importlib.import_module("insightface.app")
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    made = app.FaceAnalysis(name="buffalo_l", root=str(folder), providers=[provider])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


# ---- the comparison


def run_child(which: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", which, "--work", str(folder), *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"The run of {which} ended with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    made: dict[str, Any] = {"runs": runs}
    for which, found in runs.items():
        middle = sorted(found, key=_total)[len(found) // 2]
        print(f"\n{which}: {_total(middle) * 1000:.0f} ms until the first step begins (median of {len(found)})")
        for stage, seconds in middle["seconds"].items():
            print(f"   {stage:32}{seconds * 1000:10.1f} ms")
        print(f"   {'again, with another weight':32}{middle['again'] * 1000:10.1f} ms")
        for key in ("peak_ram", "held_ram", "peak_gpu", "held_gpu"):
            if key in middle:
                print(f"   {key.replace('_', ' '):32}{middle[key] / 1e6:10.1f} MB")
    if "theirs" in runs:
        theirs, ours = ([_total(r) for r in runs[which]] for which in ("theirs", "ours"))
        again = [[r["again"] for r in runs[which]] for which in ("theirs", "ours")]
        made |= {"theirs_to_ours": Ratio.of(theirs, ours), "again_theirs_to_ours": Ratio.of(*again)}
        print(f"\ntheirs / ours: {made['theirs_to_ours']}; again: {made['again_theirs_to_ours']}")
    return made


def _total(run: dict[str, Any]) -> float:
    """Seconds until the first step begins: all but its own attentions."""
    return sum(s for stage, s in run["seconds"].items() if not stage.startswith("attentions"))


def main() -> None:
    parser = support.arguments(str(__doc__))
    parser.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    parser.add_argument("--variant", default="Plus V2")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photo", type=Path, help="a picture of a face, for the installed insightface package")
    parser.add_argument("--face-models", type=Path, help="the folder that holds models/buffalo_l")
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = f"{options.variant} {options.family}"
    if name not in VARIANTS:
        parser.error(f"there is no {name}; known: {', '.join(VARIANTS)}")
    support.comfyui(options.device)
    if options.child == "ours":
        print("\n" + json.dumps(child_ours(name, options.work, options.device)))
    elif options.child == "theirs":
        print("\n" + json.dumps(child_theirs(name, options.work, options.device, options)))
    else:
        compare(name, options)


def compare(name: str, options: argparse.Namespace) -> None:
    sides = ["ours", "theirs"] if options.ipadapter_plus else ["ours"]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        prepare(name, Path(folder), "theirs" in sides)
        for i in range(options.repeats):
            for side in sides if i % 2 == 0 else sides[::-1]:
                runs[side].append(run_child(side, options, Path(folder)))
    face = "found by InsightFace" if options.photo else "recorded, in 0 s"
    machine = support.machine(options.device)
    print(f"{name}, {machine['device']}; the face of theirs is {face}")
    support.write_json(options.json, {**machine, "case": name, **report(runs)})


if __name__ == "__main__":
    main()
