"""What a handler is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..likeness.errors import first_fault
from ..likeness.profile import Value
from .guard import Refused

M = TypeVar("M", bound=BaseModel)


class Body(Value):
    """A request's JSON."""


@dataclass(frozen=True)
class Asked:
    """One request, checked by the guard."""

    slug: str = ""  # of the path
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""  # If-None-Match
    client: str = ""  # the browser that asked: api.clientId

    def number(self, name: str, usual: int, least: int, most: int) -> int:
        """A whole number of the query. 400 for any other text."""
        text = self.query.get(name, str(usual))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise Refused(400, f"{name}: write a whole number from {least} to {most}.")
        return int(text)

    def read(self, model: type[M]) -> M:
        """The body as that model. 400 names the field that is wrong."""
        try:
            return model.model_validate(dict(self.body))
        except ValidationError as error:
            raise Refused(400, f"{first_fault(error)}.") from None


@dataclass(frozen=True)
class Picture:
    """A picture that we have encoded ourselves; `data` is empty where the browser has it already."""

    data: bytes
    tag: str


Answer = dict[str, Any] | Picture
