"""The inputs that a node class takes, as /object_info tells them, with those that depend on other inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_DEPENDING = ("COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3")
_SECTIONS = ("required", "optional")
_MOST = 100  # rows of inputs that grow


@dataclass(frozen=True)
class Expected:
    """What one input takes."""

    kind: str  # "INT", "MODEL", "IMAGE,MASK", ...; "COMBO" for a list
    required: bool
    choices: tuple[Any, ...] | None = field(default=None, repr=False)  # of a combo
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def needs_link(self) -> bool:
        """Whether a value cannot be typed: the type is ComfyUI's own or a pack's, and no widget stands for it."""
        return self.kind in ("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CLIP_VISION")


def expected_inputs(about: object, given: Mapping[str, Any]) -> dict[str, Expected]:
    """By name. `given` decides which inputs a choice brings with it, and how many of a growing row are needed."""
    sections = about.get("input") if isinstance(about, dict) else None
    return dict(_expanded(sections, given, ""))


def depends(about: object) -> bool:
    """Whether the inputs of the class depend on what is given."""
    sections = about.get("input") if isinstance(about, dict) else None
    rows = [sections.get(section) for section in _SECTIONS] if isinstance(sections, dict) else []
    told = [t for row in rows if isinstance(row, dict) for t in row.values() if isinstance(t, (list, tuple)) and t]
    return any(t[0] in _DEPENDING for t in told if isinstance(t[0], str))


def _expanded(sections: object, given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Expected]]:
    for section in _SECTIONS:
        rows = sections.get(section) if isinstance(sections, dict) else None
        for name, told in rows.items() if isinstance(rows, dict) else ():
            if isinstance(told, (list, tuple)) and told:
                yield from _input(prefix + str(name), told, section == "required", given)


def _input(name: str, told: Any, required: bool, given: Mapping[str, Any]) -> Iterator[tuple[str, Expected]]:
    kind, options = told[0], told[1] if len(told) > 1 and isinstance(told[1], dict) else {}
    if kind == "COMFY_AUTOGROW_V3":
        yield from _growing(name, options.get("template"), given)
    elif kind == "COMFY_DYNAMICCOMBO_V3":
        yield from _choosing(name, options, required, given)
    elif isinstance(kind, list):
        yield name, Expected("COMBO", required, tuple(map(_choice, kind)), options)
    elif kind == "COMBO":
        listed = options.get("options")
        yield name, Expected("COMBO", required, tuple(listed) if isinstance(listed, list) else None, options)
    else:
        yield name, Expected(str(kind), required, None, options)


def _choice(value: Any) -> Any:
    """Some packs list {"content": name, "image": ...}."""
    return value.get("content", value) if isinstance(value, dict) else value


def _choosing(
    name: str, options: Mapping[str, Any], required: bool, given: Mapping[str, Any]
) -> Iterator[tuple[str, Expected]]:
    listed = [o for o in options.get("options") or () if isinstance(o, dict)]
    yield name, Expected("COMBO", required, tuple(o.get("key") for o in listed))
    chosen = given.get(name)
    for option in listed:
        if option.get("key") == chosen:
            yield from _expanded(option.get("inputs"), given, f"{name}.")


def _growing(name: str, template: object, given: Mapping[str, Any]) -> Iterator[tuple[str, Expected]]:
    if not isinstance(template, dict) or not isinstance(template.get("input"), dict):
        return
    section, told = next(
        ((s, row) for s in _SECTIONS for row in (template["input"].get(s) or {}).values()), ("optional", None)
    )
    if not told:
        return
    names = template.get("names")
    if not isinstance(names, list):
        names = [f"{template.get('prefix', '')}{i}" for i in range(_count(template.get("max")))]
    if told[0] in _DEPENDING:
        return  # rows that grow inside of rows: no node has them, and nobody could say where they end
    for place, each in enumerate(names[:_MOST]):
        needed = section == "required" and place < _count(template.get("min"))
        yield from _input(f"{name}.{each}", told, needed, given)


def _count(told: object) -> int:
    """A number of rows, at most _MOST; 0 for what is none."""
    return int(min(max(told, 0), _MOST)) if isinstance(told, (int, float)) and told == told else 0
