"""What a face adds to one call of the UNet: time, and what causes it (operations, kernel launches, host syncs).

    python benchmarks/step_time.py [--family sd15|sdxl] [--size PIXELS] [--device cpu|cuda] [--dtype float16]
                                   [--variant "Plus V2"] [--repeats 15] [--attention-only]
                                   [--ipadapter-plus CHECKOUT] [--json FILE]

Random weights in the published shape, cond and uncond in one batch. Plain, ours and, with a checkout,
IPAdapter_plus run alternately in one process; printed are the median and the quartiles of the paired quotients.
IPAdapter_plus misses the middle block, so it also runs with its middle block repaired: the same number of layers.

--attention-only times the cross-attentions alone, without the rest of the UNet.

On a CPU the face costs 1 to 3 % of a step, as much as one run differs from the next: the numbers of a CPU prove
nothing about a step's time. There the counts and --attention-only are what can be relied on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layers
import support
import torch
from parity import recorded
from reference_pack import Analyser, ReferencePack
from support import VARIANTS, Ratio
from torch.utils._python_dispatch import TorchDispatchMode

CPU_PROVES_NOTHING = "This is a CPU: whole-step quotients here prove nothing about a step's time on a GPU."
_NO_WORK = {"_unsafe_view", "detach", "alias", "lift_fresh", "_reshape_alias"}
_LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
_SYNCS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class OperationCounter(TorchDispatchMode):
    """Counts the ATen operations that compute something, and those that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.syncs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if name == "_local_scalar_dense":
            self.syncs += 1
        elif not view and name not in _NO_WORK:
            self.operations += 1
        return func(*args, **(kwargs or {}))


def counted(function: Callable[[], object], device: str) -> dict[str, int]:
    """Of one call, after one that warms up: operations, .item() syncs and, on a GPU, launches and driver syncs."""
    function()
    with OperationCounter() as counter:
        function()
    found = {"operations": counter.operations, "item": counter.syncs}
    if device != "cuda":
        return found
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        function()
    events = {event.key: event.count for event in profile.key_averages()}
    found["launches"] = sum(events.get(name, 0) for name in _LAUNCHES)
    found["driver syncs"] = sum(events.get(name, 0) for name in _SYNCS)
    return found


def models(model: Any, name: str, hidden: tuple[int, ...], checkout: Path | None) -> dict[str, Any]:
    """The model plain, with our face and with theirs, by the name that the report uses."""
    found = {"plain": model, "ours": ours(model, name, hidden)}
    if checkout is None:
        return found
    pack, analyser = ReferencePack(checkout), Analyser([recorded(0)])
    with tempfile.TemporaryDirectory() as folder:
        adapter = pack.load(support.write_adapter(name, Path(folder), hidden))
    theirs = pack.apply(model, adapter, support.random_vision(), analyser, weight=0.8, weight_faceidv2=1.5)
    return {**found, "theirs": pack.close_middle_block(theirs), "theirs, no middle block": theirs}


def ours(model: Any, name: str, hidden: tuple[int, ...]) -> Any:
    from comfy.ldm.modules.attention import optimized_attention

    faceid = support.package("faceid")
    compiled = support.compiled_identity(name, hidden)
    controls = faceid.Controls(weight=0.8, weight_v2=1.5)
    return faceid.apply_identity(model, compiled, controls, attention=optimized_attention)


def report(taken: dict[str, list[float]], counts: dict[str, dict[str, int]], layer_count: int) -> dict[str, Any]:
    plain, made = taken["plain"], {}
    print(f"\n{'':26}{'median ms':>10}{'added ms':>10}   time / plain [quartiles]   added per layer")
    for name, times in taken.items():
        ratio = Ratio.of(times, plain)
        added = [(a - b) * 1000 for a, b in zip(times, plain, strict=True)]
        extra = {key: (n - counts["plain"][key]) / layer_count for key, n in counts[name].items()}
        per_layer = ", ".join(f"{value:.2f} {key}" for key, value in extra.items())
        middle, more = sorted(times)[len(times) // 2] * 1000, sorted(added)[len(added) // 2]
        line = f"{name:26}{middle:10.1f}{more:10.1f}   "
        print(line + ("1" if name == "plain" else f"{ratio!s:26} {per_layer}"))
        made[name] = {"ms": middle, "added_ms": more, "ratio": ratio, "counts": counts[name], "added_per_layer": extra}
    if "theirs" in taken:
        made["ours_to_theirs"] = Ratio.of(taken["ours"], taken["theirs"])
        print(f"ours / theirs, all layers of both: {made['ours_to_theirs']}")
    return made


def main() -> None:
    parser = support.arguments(str(__doc__))
    parser.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    parser.add_argument("--size", type=int, help="pixels; default 512 (sd15), 1024 (sdxl), on a CPU 256")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        help="default float32 on a CPU, float16 on a GPU; theirs takes ComfyUI's own choice and fails with another",
    )
    parser.add_argument("--variant", default="FaceID", help="FaceID, Plus V2, Portrait, ...; it only changes tokens")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--attention-only", action="store_true")
    options = parser.parse_args()
    support.comfyui(options.device)
    name, device = f"{options.variant} {options.family}", options.device
    if name not in VARIANTS:
        parser.error(f"there is no {name}; known: {', '.join(VARIANTS)}")
    dtype = getattr(torch, options.dtype or ("float32" if device == "cpu" else "float16"))
    pixels = options.size or (256 if device == "cpu" else layers.PIXELS[options.family])
    if device == "cpu":
        torch.set_num_threads(1)
        print(CPU_PROVES_NOTHING if not options.attention_only else "CPU time of the attentions alone.")
    hidden = support.real_widths(options.family)
    call: layers.AttentionAlone | layers.UNetCall
    if options.attention_only:
        model = layers.unet(options.family, "meta", dtype)
        call = layers.AttentionAlone(options.family, pixels, device, dtype)
    else:
        model = layers.unet(options.family, device, dtype)
        call = layers.UNetCall(options.family, pixels, device)
    checkout = Path(options.ipadapter_plus) if options.ipadapter_plus else None
    runs = {label: (lambda m=m: call.run(m)) for label, m in models(model, name, hidden, checkout).items()}
    counts = {label: counted(run, device) for label, run in runs.items()}
    taken = support.interleaved(runs, options.repeats, device)
    print(f"{name}, {pixels} px, {device}, {dtype}, {'attention alone' if options.attention_only else 'whole UNet'}")
    made = report(taken, counts, len(hidden))
    about = {"case": name, "pixels": pixels, "dtype": str(dtype), "attention_only": options.attention_only}
    support.write_json(options.json, {**support.machine(device), **about, "seconds": taken, **made})


if __name__ == "__main__":
    main()
