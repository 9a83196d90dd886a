"""What is drawn during a training fits what is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness.dataset.configs import config_files
from likeness.dataset.plan import Rules

from .test_presets import item, plan_of

OF_PEOPLE = ("portrait", "looking at the viewer", "upper body", "full body", "standing", "anatomy")


@pytest.mark.parametrize("name", ["sample_prompts.txt", "ai_toolkit.yaml"])
@pytest.mark.parametrize("need_face", [True, False])
def test_only_sets_of_people_are_sampled_in_scenes_of_people(name: str, need_face: bool) -> None:
    rules = Rules(need_face=need_face, identity="gate" if need_face else "off")
    text = config_files(plan_of(item(1, caption="ohwx"), rules=rules), Path("/sets/first"))[name].decode()
    found = [word for word in OF_PEOPLE if word in text]
    assert found == (list(OF_PEOPLE) if need_face else [])
    assert need_face or "wide shot" in text
