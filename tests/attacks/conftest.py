"""The same library and character as the unit tests use."""

from ..unit.conftest import ada, analyser, library

__all__ = ["ada", "analyser", "library"]
