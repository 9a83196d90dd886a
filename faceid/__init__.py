"""FaceID adapters in torch: reading them, compiling a face to keys and values, and applying it to a model."""

from __future__ import annotations

from .adapter import Adapter, AdapterSource, read_adapter
from .adapter_file import file_sha256, load_adapter
from .companion import companion_lora, companion_name
from .compiled import CompiledIdentity, KeysValues, Provenance, compile_identity
from .errors import AdapterFamilyError, AdapterFormatError, CompiledIdentityError, FaceIDError, PatchError
from .layout import CrossAttention, cross_attentions, family_of_context
from .patch import apply_identity, check_family
from .tokens import IdentityTokens, identity_tokens

__all__ = [
    "Adapter",
    "AdapterFamilyError",
    "AdapterFormatError",
    "AdapterSource",
    "CompiledIdentity",
    "CompiledIdentityError",
    "CrossAttention",
    "FaceIDError",
    "IdentityTokens",
    "KeysValues",
    "PatchError",
    "Provenance",
    "apply_identity",
    "check_family",
    "companion_lora",
    "companion_name",
    "compile_identity",
    "cross_attentions",
    "family_of_context",
    "file_sha256",
    "identity_tokens",
    "load_adapter",
    "read_adapter",
]
