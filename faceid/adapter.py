"""Reading a FaceID adapter: what it is, for which base family, and whether it is whole.

An adapter holds two state dicts: "image_proj" makes identity tokens of a face embedding, "ip_adapter"
holds to_k_ip and to_v_ip of every cross-attention and often the LoRA it was trained with.
Source of the format: tencent-ailab/IP-Adapter, ip_adapter_faceid.py and attention_processor_faceid.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .adapter_checks import check_finite, check_layers, find_projection, sections
from .errors import AdapterFormatError
from .layout import cross_attentions, family_of_context
from .projection import Projection, State

VARIANTS = ("faceid", "faceid_plus", "faceid_plus_v2", "faceid_portrait", "faceid_portrait_unnorm")
_PLUS_NAME = re.compile(r"(?<![a-z])plus(?![a-z])|faceidplus", re.IGNORECASE)
PORTRAIT_TOKENS = 16
PLUS_V2_KEY, UNNORM_KEY = "plus_v2", "portrait_unnorm"  # safetensors metadata: "true" or "false"


@dataclass(frozen=True)
class AdapterSource:
    """The file an adapter was read from."""

    name: str  # file name, without folders
    size: int = 0  # bytes
    sha256: str = ""  # 64 hex digits, "" when not from a file


@dataclass(frozen=True, eq=False)
class Adapter:
    """A FaceID adapter that was found whole."""

    source: AdapterSource
    family: str  # "sd15" | "sdxl"
    variant: str  # one of VARIANTS
    tokens: int  # T, identity tokens per face: 4 or 16
    context_dim: int  # ctx, 768 (sd15) or 2048 (sdxl)
    projection: Projection
    state: State  # tensors of the projection
    key_weights: tuple[Tensor, ...]  # to_k_ip per layer in adapter order, [hidden, ctx], no bias
    value_weights: tuple[Tensor, ...]  # to_v_ip, the same
    lora: State  # "{n}.to_q_lora.down.weight" ..., empty when the file carries none
    plus_v2_from: str  # "user" | "metadata" | "file name", "" where there is nothing to tell apart

    @property
    def plus_v2(self) -> bool:
        return self.variant == "faceid_plus_v2"

    @property
    def needs_image_encoder(self) -> bool:
        return self.projection.needs_image

    @property
    def raw_embedding(self) -> bool:
        """Reads the face embedding as the recogniser gives it, with a norm of about 20, not normed."""
        return self.projection.raw

    @property
    def has_lora(self) -> bool:
        return bool(self.lora)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Width of each cross-attention, in adapter order."""
        return tuple(w.shape[0] for w in self.key_weights)


def read_adapter(
    tensors: Mapping[str, Any],
    *,
    name: str,
    metadata: Mapping[str, str] | None = None,
    plus_v2: bool | None = None,
    portrait_unnorm: bool | None = None,
    source: AdapterSource | None = None,
) -> Adapter:
    """An adapter from its state dict, nested ({"image_proj": {...}}) or flat ("image_proj.norm.weight").

    Plus and Plus V2 have identical keys and shapes: the flag comes from plus_v2, else from the metadata
    key "plus_v2", else from the file name (never from folders), and a file that tells nothing is refused.
    FaceID Portrait unnorm and InstantID have identical keys and shapes too: the same with portrait_unnorm.
    """
    name = re.split(r"[\\/]", name)[-1]
    state, layers = sections(tensors, name)
    projection, context_dim, tokens = find_projection(state, name)
    family = family_of_context(context_dim)
    check_layers(layers, family, name)
    check_finite({**state, **{k: v for k, v in layers.items() if "_lora." not in k}}, name)
    v2, v2_from = _plus_flag(projection, name, metadata or {}, plus_v2)
    if projection.name == "resampler":
        _refuse_instantid(name, metadata or {}, portrait_unnorm)
    keys = [place.adapter_key for place in cross_attentions(family)]
    return Adapter(
        source=source or AdapterSource(name),
        family=family,
        variant=_variant(projection, tokens, v2),
        tokens=tokens,
        context_dim=context_dim,
        projection=projection,
        state=state,
        key_weights=tuple(layers[f"{n}.to_k_ip.weight"] for n in keys),
        value_weights=tuple(layers[f"{n}.to_v_ip.weight"] for n in keys),
        lora={k: v for k, v in layers.items() if "_lora." in k},
        plus_v2_from=v2_from,
    )


def _plus_flag(kind: Projection, name: str, metadata: Mapping[str, str], user: bool | None) -> tuple[bool, str]:
    if kind.name != "plus":
        if user:
            raise AdapterFormatError(f"{name} has no image resampler, so it is not FaceID Plus V2: unset plus_v2.")
        return False, ""
    if user is not None:
        return user, "user"
    said = _said(metadata, PLUS_V2_KEY)
    if said is not None:
        return said, "metadata"
    v2 = bool(re.search(r"plus[-_. ]?v2", name, re.IGNORECASE))
    if v2 or (_PLUS_NAME.search(name) and "v2" not in name.lower()):  # a "v2" elsewhere in the name may mean it or not
        return v2, "file name"
    raise AdapterFormatError(
        f"{name} is FaceID Plus or Plus V2, which have identical contents, and its name does not tell which. "
        "Say which it is (plus_v2), or give it its published name, e.g. ip-adapter-faceid-plusv2_sd15.bin."
    )


def _refuse_instantid(name: str, metadata: Mapping[str, str], user: bool | None) -> None:
    """InstantID's ip-adapter.bin has the same tensors, and was trained to work beside its ControlNet."""
    named = re.search(r"faceid|portrait|unnorm", name, re.IGNORECASE) and "instant" not in name.lower()
    unnorm = next((said for said in (user, _said(metadata, UNNORM_KEY)) if said is not None), bool(named))
    if not unnorm:
        raise AdapterFormatError(
            f"{name} is FaceID Portrait unnorm or InstantID, which have identical contents, and its name does not tell "
            "which. Give FaceID Portrait unnorm its published name, ip-adapter-faceid-portrait_sdxl_unnorm.bin, or say "
            "what it is (portrait_unnorm); InstantID needs its own nodes."
        )


def _said(metadata: Mapping[str, str], key: str) -> bool | None:
    return {"true": True, "false": False}.get(metadata.get(key, "").lower())


def _variant(kind: Projection, tokens: int, plus_v2: bool) -> str:
    if kind.name == "resampler":
        return "faceid_portrait_unnorm"
    if kind.name == "plus":
        return "faceid_plus_v2" if plus_v2 else "faceid_plus"
    return "faceid_portrait" if tokens == PORTRAIT_TOKENS else "faceid"
