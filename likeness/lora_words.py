"""What the trainer's notes in a LoRA file say: base family, trigger, steps, rank.

Keys: `ss_*` of kohya-ss/sd-scripts (train_network.py), `modelspec.*` of Stability-AI/ModelSpec, and our own
`likeness.*` for files of ComfyUI's Train LoRA, which writes none. All of it is text that anybody may have written.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import LoraError, quoted
from .profile import FAMILIES

FAMILY, STEPS, TRAINING_SET = "likeness.family", "likeness.steps", "likeness.training_set"
PHRASE, TITLE = "modelspec.trigger_phrase", "modelspec.title"
ARCHITECTURE = "modelspec.architecture"
_ARCHITECTURES = {
    "sd15": "stable-diffusion-v1/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
    "flux": "flux-1-dev/lora",
}
_FAMILIES = (  # how trainers name what they trained on; the first that fits
    (r"stable-diffusion-v1|^sd_?v?1", "sd15"),
    (r"stable-diffusion-v2|^sd_?v?2", "other"),
    (r"stable-diffusion-xl|^sdxl", "sdxl"),
    (r"stable-diffusion-3|^sd3", "sd3"),
    (r"kolors", "kolors"),
    (r"chroma", "chroma"),
    (r"flux[-_.]?2", "flux2"),
    (r"flux", "flux"),
    (r"qwen[-_]?image", "qwen_image"),
    (r"z[-_]?image|lumina", "z_image"),
    (r"hunyuan[-_]?video", "hunyuan_video"),
    (r"hunyuan|anima", "other"),
    (r"\bwan", "wan"),
)
_FOLDER = re.compile(r"\d+_(.*\S.*)")
_FEW = 0.9  # share of captions with the trigger below which a note says so
_SHOWN = 3  # tags


@dataclass(frozen=True)
class Words:
    """What a LoRA was trained on, as its file tells."""

    phrase: str  # the trigger phrase that its maker wrote, or ""
    tags: Counter[str]  # comma part of a caption -> in how many captions
    folders: tuple[str, ...]  # "ohwx woman" of "10_ohwx woman"; folders of other names say nothing
    captions: int  # how many there were, 0 where not told

    @property
    def known(self) -> bool:
        return bool(self.phrase or self.tags or self.folders)

    @property
    def texts(self) -> tuple[str, ...]:
        """Where a trigger must stand. Captions decide where there are any: beside them a folder's name is not used."""
        return tuple(self.tags) or tuple(t for t in (self.phrase, *self.folders) if t)

    def shown(self) -> str:
        """For a message."""
        common = [tag for tag, _ in self.tags.most_common(_SHOWN)]
        return ", ".join(quoted(t, 40) for t in ([self.phrase] if self.phrase else common or self.folders[:_SHOWN]))


def words_of(metadata: Mapping[str, str]) -> Words:
    """Never raises, whatever the metadata is."""
    tags: Counter[str] = Counter()
    for rows in _table(metadata.get("ss_tag_frequency")).values():
        for tag, count in rows.items() if isinstance(rows, dict) else ():
            if tag.strip() and isinstance(count, int):
                tags[" ".join(tag.split())] += max(count, 0)
    rows = _table(metadata.get("ss_dataset_dirs"))
    counts = [row.get("img_count") for row in rows.values() if isinstance(row, dict)]
    captions = sum(c for c in counts if isinstance(c, int) and c > 0)
    folders = tuple(m[1] for name in rows if (m := _FOLDER.fullmatch(name)))
    return Words(metadata.get(PHRASE, "").strip(), tags, folders, captions)


def _table(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_trigger(name: str, metadata: Mapping[str, str], trigger: str, anyhow: bool = False) -> str:
    """What to know about the trigger, one sentence, or "".

    LoraError when the file tells what it was trained on and `trigger` is not in it, unless `anyhow`.
    """
    words = words_of(metadata)
    if not words.known:
        return f"{name} does not tell its trigger, so that was not checked." if trigger else ""
    if not _parts(trigger):
        return f"The profile has no trigger, and {name} was trained on {words.shown()}: set the one it knows."
    if not all(any(_holds(text, part) for text in words.texts) for part in _parts(trigger)):
        wrong = f"{name} was trained on {words.shown()}, without the profile's trigger {quoted(trigger)}"
        if not anyhow:
            raise LoraError(f"{wrong}: correct the profile's trigger, choose another file, or allow any trigger.")
        return f"{wrong}: taken all the same, because any trigger was allowed."
    found = min(sum(n for tag, n in words.tags.items() if _holds(tag, part)) for part in _parts(trigger))
    if words.tags and words.captions and found < _FEW * words.captions:
        return f"The trigger {quoted(trigger)} stands in {found} of the {words.captions} captions of {name} only."
    return ""


def _parts(trigger: str) -> list[str]:
    """A trigger with commas became several tags."""
    return [" ".join(part.split()) for part in trigger.split(",") if part.strip()]


def _holds(text: str, word: str) -> bool:
    """Whether the word stands in the text on its own: "ada" is not in "adamant"."""
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()) is not None


def family_told(metadata: Mapping[str, str]) -> str | None:
    """The base family that the trainer wrote down; None where it wrote none that is known."""
    if metadata.get(FAMILY) in FAMILIES:
        return metadata[FAMILY]
    for key in ("ss_base_model_version", ARCHITECTURE):
        text = metadata.get(key, "").lower()
        if found := next((family for rule, family in _FAMILIES if re.search(rule, text)), None):
            return found
    return None


def number_of(metadata: Mapping[str, str], *keys: str) -> float | None:
    """The first of these that holds a finite number of a sane size."""
    for key in keys:
        try:
            value = float(metadata.get(key, ""))
        except ValueError:
            continue
        if abs(value) < 1e6 or (value.is_integer() and abs(value) < 1e9):
            return value
    return None


def line_of(text: str, limit: int = 200) -> str:
    """As a profile takes it."""
    return "".join(c if c.isprintable() else "?" for c in text).strip()[:limit]


def notes_for(trigger: str, family: str, steps: int | None, training_set: str, title: str) -> dict[str, str]:
    """Metadata for a LoRA whose trainer writes none."""
    about = {
        TITLE: title,
        PHRASE: trigger,
        ARCHITECTURE: _ARCHITECTURES.get(family, ""),
        FAMILY: family,
        STEPS: "" if steps is None else str(steps),
        TRAINING_SET: training_set,
    }
    return {key: value for key, value in about.items() if value}
