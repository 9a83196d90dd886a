"""Rules: which pictures are not taken, and why. Pure; a `Choice` outranks every rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from .buckets import Bucket
from .crop import TOLERANCE, Crop, by_hand, crop_around, crop_for, head_of
from .plan import Box, Choice, RejectCode, Rejected, Rules
from .similar import Neighbours
from .survey import FaceSeen, Seen

FACE_COSINE = 0.75  # two shots of one moment; different photos of one person stay below
MAX_UPSCALE = 4.0  # `Rules.upscale` allows no more
_TINY = 16  # px of a side below which nothing can be measured


@dataclass(frozen=True)
class Finding:
    """One reason against a picture."""

    code: RejectCode
    reason: str  # one sentence


@dataclass(frozen=True)
class Candidate:
    """A picture, the crop it would get, and all that speaks against it."""

    seen: Seen
    crop: Crop
    findings: tuple[Finding, ...]  # the gravest first


@dataclass(frozen=True)
class Selection:
    """What is taken and what is not."""

    taken: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    clusters: tuple[tuple[str, ...], ...]  # pictures that show nearly the same, the best one first
    would_reject: Mapping[str, int]  # pictures that each rule by itself speaks against


def candidate(seen: Seen, rules: Rules, buckets: Sequence[Bucket], box: Box | None = None) -> Candidate:
    """With the crop that `box`, drawn by hand, or else the rules give it."""
    face = seen.face if rules.need_face or seen.face is not None else None
    crop = by_hand(box, buckets) if box is not None else _crop(seen, face, rules, buckets)
    return Candidate(seen, crop, tuple(_findings(seen, crop, rules)))


def _crop(seen: Seen, face: FaceSeen | None, rules: Rules, buckets: Sequence[Bucket]) -> Crop:
    area = seen.pixels.content if rules.border == "trim" else Box(left=0, top=0, width=seen.width, height=seen.height)
    if face is None or not _inside(face, area):
        part = seen.opaque
        middle = None if part is None else (part.left, part.top, part.right, part.bottom)
        return crop_for(area, middle, buckets, rules.upscale)

    size, place, roll = (seen.width, seen.height), face.box, face.pose.roll
    crop = crop_around(area, place, size, buckets, rules.upscale, roll)
    if rules.several_faces != "crop" or not _others(seen, face, crop.box, rules):
        return crop
    alone = crop_around(_between(seen, face, area), place, size, buckets, rules.upscale, roll)
    possible = alone.whole_head and alone.scale <= max(rules.upscale, crop.scale) * TOLERANCE
    return alone if possible and not _others(seen, face, alone.box, rules) else crop


def _between(seen: Seen, face: FaceSeen, area: Box) -> Box:
    """The part of `area` between the nearest heads to the left and to the right of a face."""
    middle = (face.box[0] + face.box[2]) / 2
    heads = [head_of(f.box, seen.width, seen.height) for f in seen.faces if f is not face]
    left = max([float(area.left), *(h[2] for h in heads if (h[0] + h[2]) / 2 < middle)])
    right = min([float(area.right), *(h[0] for h in heads if (h[0] + h[2]) / 2 >= middle)])
    if right - left < 1:
        return area
    return area.model_copy(update={"left": ceil(left), "width": max(int(right) - ceil(left), 1)})


def _findings(seen: Seen, crop: Crop, rules: Rules) -> Iterator[Finding]:
    yield from _size(seen, crop, rules)
    yield from _shape(crop, rules)
    yield from _border(seen, rules)
    yield from _faces(seen, crop, rules)
    yield from _identity(seen, rules)
    yield from _quality(seen, crop, rules)


def _size(seen: Seen, crop: Crop, rules: Rules) -> Iterator[Finding]:
    area = seen.pixels.content if rules.border == "trim" else None
    width, height = (area.width, area.height) if area else (seen.width, seen.height)
    if min(width, height) < max(rules.smallest, _TINY):
        yield Finding("too small", f"{width} x {height} px are fewer than {rules.smallest} px on the shorter side.")
    if crop.scale > rules.upscale * TOLERANCE:
        size = f"{crop.bucket.width} x {crop.bucket.height}"
        yield Finding(
            "upscaled",
            f"{width} x {height} px would be enlarged {crop.scale:.2f} times to {size} px; "
            f"the limit is {rules.upscale:.2f}. {_remedy(crop.scale)}",
        )


def _remedy(scale: float) -> str:
    """How a picture that is too small is taken all the same."""
    least = ceil(scale * 10 - 0.001) / 10
    return (
        "Plan a smaller side." if least > MAX_UPSCALE else f"The rule upscale={least:.1f} or a smaller side takes it."
    )


def _shape(crop: Crop, rules: Rules) -> Iterator[Finding]:
    if crop.lost > rules.lost:
        yield Finding("shape", f"The nearest bucket would lose {crop.lost:.0%} of the picture.")


def _border(seen: Seen, rules: Rules) -> Iterator[Finding]:
    if rules.border == "reject" and seen.pixels.bars > 0:
        yield Finding("border", f"Bars of one colour take {seen.pixels.bars:.0%} of the picture.")


def _faces(seen: Seen, crop: Crop, rules: Rules) -> Iterator[Finding]:
    face = seen.face
    if face is None:
        if rules.need_face:
            yield Finding("no face", "No face was found.")
        return
    large = _others(seen, face, crop.box, rules)
    if rules.several_faces != "keep" and large and rules.need_face:
        count = "another face" if len(large) == 1 else f"{len(large)} other faces"
        yield Finding(
            "several faces", f"The crop shows {count} of at least {rules.other_face:.2f} of its width{_apart(rules)}."
        )
    if not crop.whole_head and rules.need_face:
        yield Finding("too small", "No bucket holds the whole face.")
    if (beyond := _beyond(face, seen)) > rules.cut and rules.need_face:
        yield Finding("cut", f"The picture's edge cuts the face: {beyond:.0%} of it would lie beyond.")


def _beyond(face: FaceSeen, seen: Seen) -> float:
    """Share of a face's width or height, whichever is more, that the detector places outside the picture."""
    left, top, right, bottom = face.box
    across = max(0.0, -left, right - seen.width) / max(right - left, 1.0)
    along = max(0.0, -top, bottom - seen.height) / max(bottom - top, 1.0)
    return max(across, along)


def _apart(rules: Rules) -> str:
    return ": several_faces=crop cuts them off where it can" if rules.several_faces == "reject" else ""


def _others(seen: Seen, face: FaceSeen, box: Box, rules: Rules) -> list[FaceSeen]:
    """Other faces in the crop that are large enough to be trained."""
    return [f for f in seen.faces if f is not face and _inside(f, box) and f.width >= rules.other_face * face.width]


def _inside(face: FaceSeen, box: Box) -> bool:
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    return box.left <= x < box.right and box.top <= y < box.bottom


def _identity(seen: Seen, rules: Rules) -> Iterator[Finding]:
    verdict = seen.verdict
    if verdict is None or rules.identity != "gate" or (seen.face is None and not rules.need_face):
        return
    if verdict.verdict == "rejected":
        yield Finding("not the person", f"{_sentence(verdict.reason)}")
    if verdict.verdict == "not measurable" and rules.not_measurable == "reject" and seen.face is not None:
        yield Finding("not measurable", _sentence(verdict.reason))
    if verdict.copy and rules.copies == "reject":
        yield Finding("copy", f"It is nearly the reference {verdict.copy}.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _quality(seen: Seen, crop: Crop, rules: Rules) -> Iterator[Finding]:
    face = seen.face
    if face is None:
        yield from _picture_quality(seen, rules)
        return
    if abs(face.pose.roll) > rules.roll:
        yield Finding("lying", f"The face is turned by {face.pose.roll:.0f} degrees: turn the picture upright.")
    width = face.width * crop.scale
    if width < rules.face_width:
        yield Finding("too small", f"The face is {width:.0f} px wide in the crop; {rules.face_width:.0f} are needed.")
    if face.sharpness < rules.sharpness:
        yield Finding("blurred", f"The face has a sharpness of {face.sharpness:.0f}; {rules.sharpness:.0f} are needed.")
    if not rules.darkest <= face.brightness <= rules.brightest:
        what = "dark" if face.brightness < rules.darkest else "bright"
        yield Finding("exposure", f"The face is too {what}: its mean grey is {face.brightness:.0f} of 255.")
    if face.clipped > rules.clipped:
        yield Finding("exposure", f"{face.clipped:.0%} of the face are pure black or white.")


def _picture_quality(seen: Seen, rules: Rules) -> Iterator[Finding]:
    pixels = seen.pixels
    if pixels.sharpness < rules.picture_sharpness:
        yield Finding(
            "blurred",
            f"The sharpest part has a sharpness of {pixels.sharpness:.0f}; {rules.picture_sharpness:.0f} are needed.",
        )
    if not rules.darkest <= pixels.grey <= max(rules.brightest, 250.0):
        what = "dark" if pixels.grey < rules.darkest else "bright"
        yield Finding("exposure", f"The picture is too {what}: its mean grey is {pixels.grey:.0f} of 255.")


def select(
    candidates: Sequence[Candidate],
    rules: Rules,
    choices: Mapping[str, Choice],
    check: Callable[[], None] = lambda: None,
) -> Selection:
    """Split the candidates. Near duplicates are looked for among those that nothing else speaks against.

    `check`, once a picture, may raise to stop.
    """
    rejected, left = [], []
    for c in candidates:
        take = _take(choices, c)
        if take is False:
            rejected.append(_rejected(c, Finding("by hand", "Left out by hand.")))
        elif take is None and c.findings:
            rejected.append(_rejected(c, c.findings[0]))
        else:
            left.append(c)
    taken, doubles, clusters = _without_doubles(left, rules, lambda c: _take(choices, c) is True, check)
    order = {c.seen.source: i for i, c in enumerate(candidates)}
    rejected = sorted([*rejected, *doubles], key=lambda r: order[r.source])
    counts = Counter(code for c in candidates for code in dict.fromkeys(f.code for f in c.findings))
    counts.update(r.code for r in doubles)
    return Selection(tuple(taken), tuple(rejected), clusters, dict(counts.most_common()))


def _take(choices: Mapping[str, Choice], c: Candidate) -> bool | None:
    choice = choices.get(c.seen.source)
    return None if choice is None else choice.take


def _rejected(c: Candidate, finding: Finding, of: str = "") -> Rejected:
    return Rejected(source=c.seen.source, sha256=c.seen.sha256, code=finding.code, reason=finding.reason[:200], of=of)


def _without_doubles(
    candidates: Sequence[Candidate], rules: Rules, fixed: Callable[[Candidate], bool], check: Callable[[], None]
) -> tuple[list[Candidate], list[Rejected], tuple[tuple[str, ...], ...]]:
    """What is left, what is nearly one of those, and the clusters.

    The best picture is taken first, and everything that is near to it goes, so each picture that goes is near to one
    that stays. Those that a person has taken stay.
    """
    near = _Twins(candidates, rules)
    ranked = sorted(range(len(candidates)), key=lambda i: (not fixed(candidates[i]), *_worse(candidates[i]), i))
    gone: dict[int, Rejected] = {}
    done: set[int] = set()  # leads a cluster, or stays in one
    clusters = []
    for i in ranked:
        check()
        if i in gone or (rules.duplicates == "keep" and i in done):
            continue
        stays = i in done  # in a cluster of those taken by hand: what else is near to it still goes
        done.add(i)
        others = [j for j in near.hashed(i) if j not in gone and j not in done and not (stays and fixed(candidates[j]))]
        group = []
        for j, finding in near.of(i, others):
            group.append(candidates[j].seen.source)
            if rules.duplicates == "reject" and not fixed(candidates[j]):
                gone[j] = _rejected(candidates[j], finding, candidates[i].seen.source)
            else:
                done.add(j)
        clusters += [(candidates[i].seen.source, *group)] if group else []
    taken = [c for i, c in enumerate(candidates) if i not in gone]
    return taken, list(gone.values()), tuple(sorted(clusters))


def _worse(c: Candidate) -> tuple[float, ...]:
    """Sorts the better picture of two first: accepted, not enlarged, sharper, described by hand, less lost, alike."""
    verdict, face = c.seen.verdict, c.seen.face
    accepted = verdict is None or verdict.verdict == "accepted"
    sharpness = face.sharpness if face is not None else c.seen.pixels.sharpness
    similarity = verdict.similarity if verdict is not None and verdict.similarity is not None else 0.0
    return (
        float(not accepted),
        max(round(c.crop.scale, 2), 1.0),
        -round(np.log2(max(sharpness, 1.0))),
        -float(c.seen.caption is not None) - len(c.seen.labels),  # work that would be lost
        c.crop.lost,
        -similarity,
    )


class _Twins:
    """Pairs of pictures that show the same."""

    def __init__(self, candidates: Sequence[Candidate], rules: Rules) -> None:
        self._seen = [c.seen for c in candidates]
        self._rules = rules
        self._near = Neighbours([s.print for s in self._seen])

    def hashed(self, index: int) -> tuple[int, ...]:
        """What may be a twin of one by its hashes."""
        return self._near.of(index, self._rules.near_bits)

    def of(self, index: int, others: Iterable[int]) -> Iterator[tuple[int, Finding]]:
        """The twins of one among `others`, and why. The costly look, so ask for few."""
        for other in others:
            finding = self._finding(index, other)
            if finding is not None:
                yield other, finding

    def _finding(self, a: int, b: int) -> Finding | None:
        first, second = self._seen[a], self._seen[b]
        if first.exact == second.exact:
            return Finding("duplicate", "It has the very same pixels.")
        correlation, mirrored = self._near.correlation(a, b)
        if correlation < self._rules.near_cosine:
            return None
        faces = first.face, second.face
        told = f"Their thumbnails agree to {correlation:.3f}{', one of them mirrored,' if mirrored else ''}"
        if faces[0] is not None and faces[1] is not None:
            same = _cosine(faces[0], faces[1])
            if same is not None and same < FACE_COSINE:
                return None  # one studio and light, another face
            told += "" if same is None else f" and their faces to {same:.3f}"
        return Finding("near duplicate", f"{told}.")


def _cosine(a: FaceSeen, b: FaceSeen) -> float | None:
    if a.embedding is None or b.embedding is None:
        return None
    return float(a.embedding.astype(np.float64) @ b.embedding.astype(np.float64))
