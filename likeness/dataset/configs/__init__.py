"""The files beside the pictures of a set: one for every trainer, from the plan alone."""

from __future__ import annotations

from pathlib import Path

from ..plan import SetPlan
from ..presets import PRESETS, check_shape
from .ai_toolkit import ROWS, ai_toolkit_yaml
from .kohya import dataset_toml, train_toml
from .musubi import musubi_toml, musubi_train_toml
from .onetrainer import onetrainer_json
from .samples import sample_prompts


def config_files(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> dict[str, bytes]:
    """Name -> contents, for the set in `folder`. `regular`: the plan of its regularisation pictures.

    The files name the folder: those of a set that was moved are written again by building it there.
    LikenessError for sizes that the family's trainer does not take.
    """
    check_shape(plan)
    files = {
        "sample_prompts.txt": sample_prompts(plan),
        "onetrainer_concepts.json": onetrainer_json(plan, folder, regular),
    }
    trainer = PRESETS[plan.family].trainer
    if trainer != "musubi-tuner":  # a family of neither gets the sets of both, for trainers made from them
        files["dataset.toml"] = dataset_toml(plan, folder, regular)
    if trainer != "sd-scripts":
        files["musubi.toml"] = musubi_toml(plan, folder)
    if trainer == "sd-scripts":
        files[f"train_{plan.family}.toml"] = train_toml(plan, folder, regular)
    if trainer == "musubi-tuner":
        files["musubi_train.toml"] = musubi_train_toml(plan, folder)
    if plan.family in ROWS:
        files["ai_toolkit.yaml"] = ai_toolkit_yaml(plan, folder, regular)
    return files
