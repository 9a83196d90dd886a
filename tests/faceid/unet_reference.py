"""A compiled identity of a random adapter, and the published mathematics put into ComfyUI's UNet by other means."""

from __future__ import annotations

from typing import Any

import torch
from random_adapter import embedding, hidden_states, state_dict
from torch import Tensor

import faceid


def tokens_of(adapter: faceid.Adapter, seed: int = 0) -> faceid.IdentityTokens:
    hidden, nobody = (hidden_states(i) if adapter.needs_image_encoder else None for i in (1, 2))
    uncond = faceid.FaceInputs(torch.zeros(1, 512), nobody)
    return faceid.identity_tokens(adapter, faceid.FaceInputs(embedding(seed), hidden), uncond)


def identity(family: str, kind: str = "mlp", seed: int = 0) -> faceid.CompiledIdentity:
    adapter = faceid.read_adapter(state_dict(family, kind), name="ip-adapter-faceid-plusv2.bin")
    tokens = tokens_of(adapter, seed)
    return faceid.compile_identity(adapter, tokens, identity=str(seed))


def published(model: Any, flat: dict[str, Tensor], weight: float, weight_v2: float) -> Any:
    """The maths as published, every projection computed inside the loop.

    The order of the layers is read off the UNet itself: input blocks, output blocks, middle block.
    """
    import comfy.ldm.modules.attention as attention

    adapter = faceid.read_adapter(flat, name="ip-adapter-faceid-plusv2.bin")
    made = tokens_of(adapter)
    tokens = made.base if made.shortcut is None else made.base + weight_v2 * made.shortcut
    patched, unet = model.clone(), model.model.diffusion_model
    blocks = [("input", i, b) for i, b in enumerate(unet.input_blocks)]
    blocks += [("output", i, b) for i, b in enumerate(unet.output_blocks)]
    blocks += [("middle", 0, unet.middle_block)]
    number = 1
    for name, i, block in blocks:
        for module in block:
            for depth in range(len(getattr(module, "transformer_blocks", ()))):
                k_ip = flat[f"ip_adapter.{number}.to_k_ip.weight"].float()
                v_ip = flat[f"ip_adapter.{number}.to_v_ip.weight"].float()
                number += 2

                def patch(q, k, v, options, k_ip=k_ip, v_ip=v_ip):
                    text = attention.attention_basic(q, k, v, options["n_heads"])
                    images = len(q) // len(options["cond_or_uncond"])
                    rows = [min(c, 1) for c in options["cond_or_uncond"] for _ in range(images)]
                    t = tokens[rows, 0]
                    face = attention.attention_basic(q, t @ k_ip.T, t @ v_ip.T, options["n_heads"])
                    return text + weight * face

                patched.set_model_attn2_replace(patch, name, i, depth)
    assert number - 1 == 2 * len(faceid.cross_attentions(adapter.family))
    return patched
