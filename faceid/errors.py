"""Every error that this package raises on purpose.

ValueError
└── FaceIDError
    ├── AdapterFormatError     the file is not a FaceID adapter that can be used
    ├── AdapterFamilyError     an adapter or an identity meets a base model it was not made for
    ├── CompiledIdentityError  a compiled identity is damaged, foreign or cannot be made
    └── PatchError             a strength, a window or a graph that the patch cannot work with
"""

from __future__ import annotations


class FaceIDError(ValueError):
    """A FaceID file, value or model cannot be used; the text says what was found and what to do."""


class AdapterFormatError(FaceIDError):
    """The file is not a FaceID adapter that this package can use."""


class AdapterFamilyError(FaceIDError):
    """A FaceID adapter, or an identity compiled from it, meets a base model it was not made for."""


class CompiledIdentityError(FaceIDError):
    """A compiled identity is damaged, foreign, or cannot be made from what was given."""


class PatchError(FaceIDError):
    """The identity cannot be applied to this model with these settings."""
