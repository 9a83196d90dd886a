"""FaceID adapters in torch: reading them, compiling a face to keys and values, and applying it to a model."""

from __future__ import annotations

from .adapter import VARIANTS, Adapter, AdapterSource, read_adapter
from .adapter_file import file_sha256, load_adapter
from .combine import COMBINE, FaceInputs, combine
from .companion import companion_lora, companion_name
from .compiled import CompiledIdentity, KeysValues, Provenance, compile_identity
from .compiled_file import MAX_BYTES, from_bytes, to_bytes
from .controls import EMBEDS_SCALING, WEIGHT_TYPES, Controls, parse_frame_weights, parse_layer_weights
from .errors import AdapterFamilyError, AdapterFormatError, CompiledIdentityError, FaceIDError, PatchError
from .layout import CrossAttention, cross_attentions, family_of_context
from .patch import apply_identity, check_family
from .tokens import IdentityTokens, identity_tokens
from .weights import LayerFactor, layer_factors

__all__ = [
    "COMBINE",
    "EMBEDS_SCALING",
    "MAX_BYTES",
    "VARIANTS",
    "WEIGHT_TYPES",
    "Adapter",
    "AdapterFamilyError",
    "AdapterFormatError",
    "AdapterSource",
    "CompiledIdentity",
    "CompiledIdentityError",
    "Controls",
    "CrossAttention",
    "FaceIDError",
    "FaceInputs",
    "IdentityTokens",
    "KeysValues",
    "LayerFactor",
    "PatchError",
    "Provenance",
    "apply_identity",
    "check_family",
    "combine",
    "companion_lora",
    "companion_name",
    "compile_identity",
    "cross_attentions",
    "family_of_context",
    "file_sha256",
    "from_bytes",
    "identity_tokens",
    "layer_factors",
    "load_adapter",
    "parse_frame_weights",
    "parse_layer_weights",
    "read_adapter",
    "to_bytes",
]
