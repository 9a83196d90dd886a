"""Small compiled identities, and what tests ask of them."""

from __future__ import annotations

import numpy as np
import torch
from random_adapter import embedding, hidden_states, state_dict

import faceid
from faceid import CompiledIdentity, FaceInputs

TRUE_WIDTHS = {  # of the cross-attentions, adapter order
    "sd15": (320, 320, 640, 640, 1280, 1280) + (1280,) * 3 + (640,) * 3 + (320,) * 3 + (1280,),
    "sdxl": (640,) * 4 + (1280,) * 50 + (640,) * 6 + (1280,) * 10,
}


def compiled(
    kind: str = "plus", hidden: tuple[int, ...] = (2, 3) * 8, *, faces: int = 1, frames: bool = False
) -> CompiledIdentity:
    adapter = faceid.read_adapter(state_dict("sd15", kind, hidden=hidden), name="ip-adapter-faceid-plusv2_sd15.bin")
    plus = kind == "plus"
    hidden_of_faces = torch.cat([hidden_states(i + 1) for i in range(faces)]) if plus else None
    given = FaceInputs(torch.cat([embedding(i) for i in range(faces)]), hidden_of_faces)
    nobody = FaceInputs(torch.zeros(1, 512), hidden_states(99) if plus else None)
    tokens = faceid.identity_tokens(adapter, given, nobody, frames=frames)
    combine = "per image" if frames else "concat" if faces > 1 else "identity"
    return faceid.compile_identity(adapter, tokens, identity="digest", image_encoder="vit-h", combine=combine)


def same(a: CompiledIdentity, b: CompiledIdentity) -> bool:
    return (
        (a.provenance, a.hidden, a.storage) == (b.provenance, b.hidden, b.storage)
        and torch.equal(a.keys, b.keys)
        and torch.equal(a.values, b.values)
    )


def columns(identity: CompiledIdentity, number: int) -> slice:
    edges = np.cumsum([0, *identity.hidden])
    return slice(edges[number], edges[number + 1])
