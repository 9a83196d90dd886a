"""Where a picture's caption comes from: the text that lies beside it or was given for it, else a template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

from ..errors import LikenessError
from ..profile import BaseFamily
from .caption_tokens import limit_of
from .captions import TAGS, Style, caption_of, read_caption, with_trigger
from .plan import check_caption
from .planning import About, ToCaption

CaptionFrom = Literal["files, then template", "template"]
CAPTION_FROM: tuple[str, ...] = get_args(CaptionFrom)


def style_for(family: BaseFamily) -> Style:
    """Tags for CLIP, sentences for models with a language model as text encoder."""
    return Style("tags" if family in ("sd15", "sdxl") else "sentence", tokens=limit_of(family))


def captioner_for(who: About, source: str, problems: list[str], style: Style = TAGS) -> Callable[[ToCaption], str]:
    """A captioner for one set; `source` of CAPTION_FROM.

    Caption files that cannot be read are named in `problems`, one sentence each, and the template is used.
    """

    def caption(asked: ToCaption) -> str:
        if source != "template" and asked.existing is not None:
            try:
                return check_caption(with_trigger(read_caption(asked.existing), who))
            except LikenessError as error:
                problems.append(f"{asked.source}: {error} A template stands for it.")
        out = (*style.leave_out, *asked.common)
        return caption_of(asked.facts, who, asked.index, replace(style, leave_out=out))

    return caption
