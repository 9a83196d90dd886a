"""What an identity holds while sampling: bytes on the device that samples and in RAM, ours and IPAdapter_plus's.

    python benchmarks/memory_held.py [--family sd15|sdxl] [--variant "Plus V2"] [--device cpu|cuda] [--dtype float16]
                                     [--identities 1] [--ipadapter-plus CHECKOUT] [--json FILE]

Counted are the numbers of all tensors that can be reached from the model's patches after one step, without the UNet:
of ours the copies for the device, and the float32 masters in RAM; of theirs the IPAdapter module that every one
of its nodes builds. What their loader nodes keep besides (the adapter, CLIP-Vision) is listed apart. On a GPU the
difference of torch.cuda.memory_allocated is printed too. The adapter has the published shape; the UNet has no numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import layers
import support
import torch
from parity import recorded
from reference_pack import Analyser, ReferencePack
from support import VARIANTS
from torch import Tensor

RANK = 128  # of the LoRA inside the published files


def tensors_below(*roots: Any) -> Iterator[Tensor]:
    """Every tensor that the objects hold, each storage once. Functions and classes are not entered."""
    todo, seen, storages = list(roots), set(), set()
    while todo:
        x = todo.pop()
        if id(x) in seen or isinstance(x, (str, bytes, int, float, type, type(None))):
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            if x.untyped_storage()._cdata not in storages:
                storages.add(x.untyped_storage()._cdata)
                yield x
        elif isinstance(x, dict):
            todo += x.values()
        elif isinstance(x, (list, tuple, set, frozenset)):
            todo += x
        elif hasattr(x, "__dict__"):
            todo += vars(x).values()


def size(*roots: Any) -> int:
    """Bytes of the storages below."""
    return sum(x.untyped_storage().nbytes() for x in tensors_below(*roots))


def held_by_patches(model: Any) -> list[Any]:
    """What the model carries for its identities: patches and wrappers, nothing of the UNet."""
    return [model.model_options.get("transformer_options", {}), model.wrappers]


def ours(model: Any, name: str, hidden: tuple[int, ...], count: int, attentions: Any) -> dict[str, int]:
    from comfy.ldm.modules.attention import optimized_attention

    faceid = support.package("faceid")
    compiled = support.compiled_identity(name, hidden)
    before, patched = _allocated(), model
    controls = faceid.Controls(weight=0.8, weight_v2=1.5)
    for _ in range(count):
        patched = faceid.apply_identity(patched, compiled, controls, attention=optimized_attention)
    attentions.run(patched)
    steps = [wrapper.identity for wrapper in patched.wrappers["apply_model"]["likeness"]]
    masters = size([step.masters for step in steps])
    found = {"device": size(held_by_patches(patched)) - masters, "ram": masters + size(compiled)}
    return found | _difference(before)


def theirs(
    model: Any, name: str, hidden: tuple[int, ...], count: int, attentions: Any, checkout: Path
) -> dict[str, int]:
    pack, vision = ReferencePack(checkout), support.random_vision()
    with tempfile.TemporaryDirectory() as folder:
        adapter = pack.load(support.write_adapter(name, Path(folder), hidden, RANK, full=True))
    before, patched = _allocated(), model
    for number in range(count):
        analyser = Analyser([recorded(number)])
        patched = pack.apply(patched, adapter, vision, analyser, weight=0.8, weight_faceidv2=1.5)
    attentions.run(patched)
    found = {"device": size(held_by_patches(patched)), "ram": 0, "adapter kept by its loader": size(adapter)}
    return found | _difference(before)


def _allocated() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def _difference(before: int) -> dict[str, int]:
    return {"cuda allocated": _allocated() - before} if torch.cuda.is_available() else {}


def main() -> None:
    parser = support.arguments(str(__doc__))
    parser.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    parser.add_argument("--variant", default="Plus V2")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--dtype", choices=["float32", "float16"], help="default float32 on a CPU; theirs knows no other"
    )
    parser.add_argument("--identities", type=int, default=1, help="nodes one after the other on one model")
    options = parser.parse_args()
    name, device = f"{options.variant} {options.family}", options.device
    if name not in VARIANTS:
        parser.error(f"there is no {name}; known: {', '.join(VARIANTS)}")
    support.comfyui(device)
    dtype = getattr(torch, options.dtype or ("float32" if device == "cpu" else "float16"))
    hidden = support.real_widths(options.family)
    model = layers.unet(options.family, "meta", dtype)
    attentions = layers.AttentionAlone(options.family, 128, device, dtype)
    found = {"ours": ours(model, name, hidden, options.identities, attentions)}
    if options.ipadapter_plus:
        checkout = Path(options.ipadapter_plus)
        found["theirs"] = theirs(model, name, hidden, options.identities, attentions, checkout)
    print(f"{name}, {options.identities} identities, {device}, {dtype}")
    for side, numbers in found.items():
        print(f"{side:8}" + ", ".join(f"{key} {value / 1e6:.2f} MB" for key, value in numbers.items()))
    if "theirs" in found:
        print(f"on the device theirs / ours: {found['theirs']['device'] / found['ours']['device']:.0f}")
    about = {"case": name, "dtype": str(dtype), "identities": options.identities}
    support.write_json(options.json, {**support.machine(device), **about, "bytes": found})


if __name__ == "__main__":
    main()
