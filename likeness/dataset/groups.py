"""Groups of pictures: by what the face does, by the folder they lie in, or by how the whole looks.

A group's name ends up in the plan; groups may be trained equally often whatever their size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import LikenessError
from ..faces.face import Vector

if TYPE_CHECKING:
    from .plan import Facts

GroupBy = Literal["", "folder", "framing", "angle", "pose", "expression", "light", "outfit", "background"]
MOST = 4  # a group of one picture is not shown more often than that for each time of the largest group's
SAME_LOOK = 0.85  # cosine of two image embeddings from which two pictures count as one background


def group_of(by: GroupBy, facts: Facts, folder: str) -> str:
    """Name of the group; "" where it is not known."""
    if by == "folder":
        return folder
    if by == "pose":
        return ", ".join(filter(None, (facts.framing, facts.angle, "" if facts.tilt == "level" else facts.tilt)))
    return str(getattr(facts, by)) if by else ""


def looks(vectors: Sequence[Vector | None], what: str = "background") -> list[str]:
    """A name for each picture: those of one name look alike as a whole.

    Each picture joins the group whose mean it is nearest to, with a cosine of `SAME_LOOK` or more, or begins one.
    Groups are numbered by size. "" where there is no embedding.
    """
    means: list[NDArray[np.float64]] = []
    counts: list[int] = []
    member: list[int | None] = []
    for vector in vectors:
        if vector is None:
            member.append(None)
            continue
        near = [float(vector @ (m / (np.linalg.norm(m) or 1.0))) for m in means]
        best = int(np.argmax(near)) if near else -1
        if best < 0 or near[best] < SAME_LOOK:
            means.append(np.zeros_like(vector, dtype=np.float64))
            counts.append(0)
            best = len(means) - 1
        means[best] += vector
        counts[best] += 1
        member.append(best)
    ranks = {g: n for n, g in enumerate(sorted(range(len(means)), key=lambda g: (-counts[g], g)), 1)}
    return ["" if m is None else f"{what} {ranks[m]}" for m in member]


def even_repeats(groups: Sequence[str], repeats: int, most: int = MOST) -> list[int]:
    """Repeats for each picture so that every group is shown about as often as the largest, at most `most` times as
    often for each picture. `repeats`: of the largest group."""
    if repeats < 1:
        raise LikenessError(f"repeats: {repeats} is no number of repeats: give 1 or more.")
    sizes = Counter(groups)
    largest = max(sizes.values(), default=1)
    factor = {g: min(max(round(largest / n), 1), most) for g, n in sizes.items()}
    return [repeats * factor[g] for g in groups]
