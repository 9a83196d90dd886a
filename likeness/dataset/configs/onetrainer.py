"""`onetrainer_concepts.json` for Nerogar/OneTrainer (modules/util/config/ConceptConfig.py): its list of concepts.

Its masks must lie beside the pictures, where sd-scripts would train them: copy `masks/` there for masked training. Its
buckets are others: load the pictures at `resolution`, and it scales them a little.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..plan import SetPlan
from .kohya import SEED, keep_tokens, path_in, reg_folder, shuffles

VERSION = 2  # of ConceptConfig


def onetrainer_json(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> bytes:
    """Plain ASCII: OneTrainer reads it in the system's own encoding."""
    concepts = [
        _concept(plan, f"{plan.slug} {plan.name} x{repeats}", path_in(folder, "img", name), repeats)
        for repeats, name in plan.folder_names
    ]
    if regular is not None and regular.items:
        name = regular.class_word or regular.slug
        shown = len(plan.items) and plan.samples / max(len(regular.items), 1)
        concepts.append(_concept(plan, f"{name} (regularisation)", reg_folder(folder, regular), round(shown, 4), True))
    return (json.dumps(concepts, indent=1) + "\n").encode()


def _concept(plan: SetPlan, name: str, path: str, repeats: float, regular: bool = False) -> dict[str, Any]:
    return {
        "__version": VERSION,
        "name": name,
        "path": path,
        "seed": SEED,  # its own default is a random one
        "enabled": True,
        "type": "PRIOR_PREDICTION" if regular else "STANDARD",
        "include_subdirectories": False,
        "image_variations": 1,
        "text_variations": 1,
        "balancing": float(repeats),
        "balancing_strategy": "REPEATS",
        "loss_weight": 1.0,
        "image": {"enable_crop_jitter": False, "enable_random_flip": False},  # the jitter is on by default
        "text": {
            "prompt_source": "sample",
            "enable_tag_shuffling": shuffles(plan) and not regular,
            "tag_delimiter": ",",
            "keep_tags_count": keep_tokens(plan),
        },
    }
