"""What a graph draws with: checkpoint, LoRAs, character, sampling; as far as it can be read from the graph.

What only shows when it runs, such as what "auto" came to, is told by the nodes that know: `questions` says which
outputs tell it, and `drawn_with` reads the answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..inject.insert import ApiGraph
from ..inject.slots import all_slots, used
from ..inject.workflow import Workflow
from ..sweep.graph_key import CHECKPOINTS, is_link

REPORT = "report"  # the question for what Apply Character did
_REPORTS = {"LikenessApplyCharacter": 2, "LikenessApplyCharacters": 3}  # outputs
_NUMBERS = {"steps": "steps", "cfg": "cfg", "sampler": "sampler_name", "scheduler": "scheduler"}  # key -> input
_SIZES = ("width", "height")  # px
_ASKED = ("method", "strengths", "adapter")  # inputs of Apply Character
_HELD = ("value", "int", "float", "string", "number")  # inputs of nodes that hold one value
_FLOAT = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_HEADING = re.compile(r".+ on (?P<family>\w+): (?P<method>\w+), strengths from (?P<source>\w+)")
_CHARACTER_LORA = re.compile(rf"character LoRA (.+?)(?: v\d+)?: model {_FLOAT}, clip {_FLOAT}")
_COMPANION = re.compile(rf"companion LoRA (.+): {_FLOAT}(?:,.*)?")
_FACE = re.compile(
    rf"\w+(?: \(by .*\))? (\S.*): weight {_FLOAT}(?:, weight_v2 {_FLOAT})?(?:, steps {_FLOAT} to {_FLOAT})?"
)


def well_formed(graph: Mapping[str, Any]) -> ApiGraph:
    """The nodes of a graph, which may come from anybody's picture, that are nodes."""
    return {
        node_id: node
        for node_id, node in graph.items()
        if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
    }


def questions(graph: ApiGraph) -> dict[str, list[Any]]:
    """Question -> the link whose value answers it, as text, once the graph has run."""
    graph = well_formed(graph)
    asked = {key: value for key, value in _values(graph).items() if is_link(value)}
    for node_id, node in graph.items():
        if node["class_type"] in _REPORTS:
            asked.setdefault(REPORT, [node_id, _REPORTS[node["class_type"]]])
    return asked


def drawn_with(graph: ApiGraph, told: Mapping[str, str] = {}) -> dict[str, Any]:
    """Plain values for JSON, without what nobody knows.

    checkpoint, vae     as ComfyUI lists them
    family, method      of the character; "auto" where only that is known
    strengths           "source", and by name what acted
    adapter             FaceID adapter
    loras               [{"file", "model", "clip"}], the character's own and a companion too, where they acted
    steps, cfg, sampler, scheduler, width, height       of the first sampler
    """
    graph = well_formed(graph)
    found: dict[str, Any] = {"checkpoint": _named(graph, CHECKPOINTS), "vae": _named(graph, ("vae_name",))}
    asked = next((n["inputs"] for n in graph.values() if n["class_type"] == "LikenessApplyCharacter"), {})
    found |= {key: asked[key] for key in _ASKED if isinstance(asked.get(key), str)}
    if "strengths" in found:
        found["strengths"] = {"source": found["strengths"]}
    loras = list(_loras(graph))
    _read_report(told.get(REPORT, ""), found, loras)
    answers = {key: _answer(key, told[key]) for key in told if key != REPORT}
    found |= {key: v for key, value in _values(graph).items() if (v := answers.get(key) if is_link(value) else value)}
    return {**{key: value for key, value in found.items() if value not in ("", None)}, "loras": loras}


def _read_report(report: str, found: dict[str, Any], loras: list[dict[str, Any]]) -> None:
    """What Apply Character tells it has done; of several characters the first one's method."""
    for line in report.splitlines():
        if (match := _HEADING.fullmatch(line)) and "family" not in found:
            found |= {"family": match["family"], "method": match["method"], "strengths": {"source": match["source"]}}
        elif match := _CHARACTER_LORA.fullmatch(line):
            loras.append(_lora(match[1], float(match[2]), float(match[3])))
        elif match := _COMPANION.fullmatch(line):
            loras.append(_lora(match[1], float(match[2]), 0.0))
        elif (match := _FACE.fullmatch(line)) and "strengths" in found:
            found["adapter"] = match[1]
            names = ("faceid_weight", "faceid_weight_v2", "start", "end")
            found["strengths"] |= {n: float(v) for n, v in zip(names, match.groups()[1:], strict=True) if v}


def _lora(file: str, model: Any, clip: Any) -> dict[str, Any]:
    return {"file": file, "model": model, "clip": clip}


def _loras(graph: ApiGraph) -> Iterator[dict[str, Any]]:
    """Those that loaders name. A LoRA Stack of ours names them in one text."""
    for slot in all_slots(Workflow(graph, graph)):
        if not used(slot) or (slot.inside and not slot.node.inputs[slot.name].get("on", True)):
            continue
        value: Mapping[str, Any] = slot.node.inputs[slot.name] if slot.inside else slot.node.inputs
        numbers = [_number(value.get(names[0])) if names else None for names in (slot.model, slot.clip)]
        yield _lora(slot.file, numbers[0], numbers[1])
    for node in graph.values():
        stack = node["inputs"].get("stack")
        if node["class_type"] == "LikenessLoRAStack" and isinstance(stack, str) and stack.strip():
            yield {"stack": stack.strip()}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _named(graph: ApiGraph, names: Sequence[str]) -> str:
    for name in names:
        for node in graph.values():
            if isinstance(value := node["inputs"].get(name), str):
                return value
    return ""


def _values(graph: ApiGraph) -> dict[str, Any]:
    """Key -> what the first sampler is given, and the first picture's size: a value, or a link that hides it."""
    found: dict[str, Any] = {}
    for node_id in _in_order(graph):
        node = graph[node_id]
        if node["class_type"].startswith("Likeness"):
            continue
        given = node["inputs"]
        for key, name in _NUMBERS.items():
            if name in given:
                found.setdefault(key, _resolved(graph, given[name]))
        if all(name in given for name in _SIZES) and "latent" in node["class_type"].lower():
            for name in _SIZES:
                found.setdefault(name, _resolved(graph, given[name]))
    return found


def _in_order(graph: ApiGraph) -> list[str]:
    """Ids, each after those it depends on."""
    done: dict[str, None] = {}
    stack = [(node_id, False) for node_id in reversed(graph)]
    seen: set[str] = set()
    while stack:
        node_id, ready = stack.pop()
        if ready:
            done[node_id] = None
        elif node_id not in seen:
            seen.add(node_id)
            stack.append((node_id, True))
            links = [v[0] for v in graph[node_id]["inputs"].values() if is_link(v) and v[0] in graph]
            stack += [(i, False) for i in reversed(links)]
    return list(done)


def _resolved(graph: ApiGraph, value: Any) -> Any:
    """Behind links to nodes that hold one plain value, that value."""
    seen: set[str] = set()
    while is_link(value) and value[0] in graph and value[0] not in seen:
        seen.add(value[0])
        given = graph[value[0]]["inputs"]
        held = [given[name] for name in _HELD if name in given]
        if len(given) != 1 or not held:
            break
        value = held[0]
    return value


def _answer(key: str, text: str) -> Any:
    if key in ("sampler", "scheduler"):
        return text
    try:
        return float(text) if key == "cfg" else int(text)
    except ValueError:
        return None
