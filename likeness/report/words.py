"""What a report means, in sentences, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..style import LEAST_BACKGROUND, STYLE_GOOD
from .document import FEW, Group, GroupTable, Report
from .statistics import Spread, Tally

_MANY_LOST = 0.2  # share of pictures not measurable from which it is worth a sentence
_MANY_COPIES = 0.05
_NEAR = 0.03  # cosine
_GAP = 0.10  # cosine between two poses' means
_LOW_RATE, _HIGH_RATE = 0.7, 0.95
RULE = (
    f"Groups are ranked by consistency rate, then by mean similarity; those with fewer than {FEW} measurable pictures "
    "come last."
)
_REMEDIES = {  # by the beginning of a kind of reason
    "no face": "draw the face larger or turned to the viewer, or leave such pictures out",
    "the face is too small": "draw closer, or enlarge the face with a detailer first",
    "the face is blurred": "use more steps, a larger size or a detailer",
    "the face is turned away": "add a reference that shows the profile, or leave such pictures out",
    "the lower half": "leave out pictures with a mask, a hand or a cup before the face",
    "the upper half": "leave out pictures with sunglasses, a helmet or hair before the eyes",
    "a drawn face": "install CCIP for drawn characters, or give a look model",
}


def headline(report: Report) -> str:
    """One sentence."""
    t = report.tally
    if not t.pictures:
        return "There is no picture that could be read."
    if t.references == t.pictures:
        return f"{_pictures(t.pictures)}, all of them references themselves, so there is no consistency rate."
    if t.rate is None or t.interval is None:
        return f"None of {t.pictures} pictures could be measured, so there is no consistency rate."
    low, high = t.interval
    mean = "" if t.similarity is None else f"; mean similarity {plus_minus(t.similarity)}"
    return (
        f"Consistency {t.rate:.2f}: {t.accepted} of {t.measurable} measurable pictures are accepted "
        f"(95 % interval {low:.2f} to {high:.2f}){mean}."
    )


def plus_minus(spread: Spread) -> str:
    """One value has no spread."""
    return f"{spread.mean:.3f} ± {spread.sd:.3f}" if spread.count > 1 else f"{spread.mean:.3f}"


def _pictures(count: int, one: str = "", many: str = "") -> str:
    """ "1 picture", "2 pictures"; with a verb for each after it."""
    return f"{count:,} picture {one}".rstrip() if count == 1 else f"{count:,} pictures {many}".rstrip()


def advice(report: Report) -> list[str]:
    """Sentences, the most important first; [] where there is nothing to do."""
    rule = [RULE] if any(len(table.groups) > 1 for table in report.tables) else []
    groups = [*map(contest, report.tables), *rule]
    return [*_about_measuring(report), *_about_pictures(report), *groups, *_about_others(report)]


def contest(table: GroupTable) -> str:
    """Which group is best, and whether that is more than chance; pictures that are in no group do not compete."""
    ranked = [g for g in table.groups if g.tally.measurable]
    if not table.groups and table.unknown is not None:
        return f"No picture {table.tells}."
    if not ranked:
        return f"By {table.name} nothing could be measured.{_in_none(table)}"
    best = f"Best {table.name}: {_told(ranked[0])}"
    if len(ranked) < 2:
        return f"{best}. There is no other to compare with.{_in_none(table)}"
    return f"{best}. Second: {_told(ranked[1])}; {_difference(table, ranked)}.{_in_none(table)}"


def _difference(table: GroupTable, ranked: Sequence[Group]) -> str:
    """Of the two best."""
    test = table.contest
    if test is None or min(g.tally.measurable for g in ranked[:2]) < FEW:
        return "too few pictures to tell them apart"
    figures = f"(Welch's t {test.t:.2f}, p {_p(test.p)})"
    if not test.beyond_noise:
        return f"the difference is within the noise {figures}: take either, or draw more pictures"
    turned = ", but it is the second whose mean is higher" if test.t < 0 else ""
    return f"the difference is beyond the noise {figures}{turned}"


def _in_none(table: GroupTable) -> str:
    if table.unknown is None:
        return ""
    return f" {_pictures(table.unknown.tally.pictures, 'is', 'are')} in no group: none {table.tells}."


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def _told(group: Group) -> str:
    t = group.tally
    mean = "no similarity" if t.similarity is None else f"{plus_minus(t.similarity)} over {t.similarity.count}"
    return f"{group.value}, {mean} ({t.accepted} of {t.measurable} accepted)"


def _about_measuring(report: Report) -> Iterator[str]:
    t, a = report.tally, report.about
    if not t.pictures:
        yield "Check the folder: it holds no PNG, JPEG or WebP picture that can be read."
        return
    if a.band_source == "not calibrated":
        yield f"The threshold {a.band:.2f} is a guess: run `likeness calibrate {a.slug}`, then this report again."
    yield from _about_threshold(report)
    if t.references and t.references < t.pictures:
        which = _pictures(t.references, "is a reference itself", "are references themselves")
        yield f"{which}: left out of all figures."
    lost = t.not_measurable
    if lost > _MANY_LOST * t.pictures:
        lost_reasons = [(k, n) for k, n in t.reasons if k != "less alike than the band asks for"]
        kind, count = lost_reasons[0] if lost_reasons else ("", 0)
        remedy = next((text for start, text in _REMEDIES.items() if kind.startswith(start)), "")
        told = f" {count} of them: {kind}." if kind else ""
        change = f" To change that, {remedy}." if remedy else ""
        yield f"Nothing could be measured on {lost} of {_pictures(t.pictures)}.{told}{change}"
    if report.outside:
        links = _pictures(len(report.outside), "is a link to a file", "are links to files")
        yield f"{links} outside the folder; {'it counts' if len(report.outside) == 1 else 'they count'}."
    if report.left_out:
        count = len(report.left_out)
        which = "1 file or folder is" if count == 1 else f"{count:,} files or folders are"
        yield f"{which} not in the figures; the reason is in the list below."


def _about_threshold(report: Report) -> Iterator[str]:
    if report.about.hand_set is not None:
        measured = [r for r in report.counted if r.measurable]
        yield from report.about.hand_set.sentences([(r.similarity, r.accepted) for r in measured])


def _about_pictures(report: Report) -> Iterator[str]:
    t = report.tally
    if t.copies > _MANY_COPIES * max(t.measurable, 1):
        limit = "" if report.about.copy_limit is None else f" (above {report.about.copy_limit:.3f})"
        yield (
            f"{_pictures(t.copies, 'is', 'are')} nearer to one reference{limit} than photos of one person usually are, "
            "as copies of it would be: lower the strength of FaceID or of the LoRA, or a training set of them will "
            "only repeat it."
        )
    near = sum(r.similarity is not None and abs(r.similarity - report.about.band) < _NEAR for r in report.counted)
    if near and t.rate is not None and near > 0.1 * t.measurable:
        which = "look at it" if near == 1 else "look at them"
        yield f"{_pictures(near, 'lies', 'lie')} within {_NEAR} of the threshold: {which} before you trust the rate."
    if t.rate is not None and t.rate < _LOW_RATE:
        yield (
            f"{t.rejected:,} of {_pictures(t.measurable)} that could be measured {'is' if t.rejected == 1 else 'are'} "
            "rejected: look at the least alike ones below, raise the strengths (Tune Strengths finds them), or add "
            "references."
        )
    if t.interval is not None and t.interval[1] - t.interval[0] > 0.2:
        yield f"With {_pictures(t.measurable)} measured the rate is rough: draw more before comparing it."
    yield from _about_poses(report.poses)


def _about_poses(poses: GroupTable) -> Iterator[str]:
    known = {g.value: g.tally for g in poses.groups if g.tally.measurable >= FEW and g.tally.similarity is not None}
    front = known.get("frontal")
    for name, t in known.items():
        if front is not None and front.similarity and t.similarity and name != "frontal":
            gap = front.similarity.mean - t.similarity.mean
            if gap > _GAP:
                yield (
                    f"Faces in {name} are {gap:.2f} less alike than frontal ones: add references in {name}, or train "
                    "the LoRA with them."
                )


def _about_others(report: Report) -> Iterator[str]:
    t, a = report.tally, report.about
    if a.steered and not a.second:
        yield (
            f"The face model that measures also steers FaceID, so pictures drawn with FaceID flatter this figure: "
            f"give a second face model for an independent one, and run this again for {a.character}."
        )
    yield from _about_second(t, a.second)
    yield from _about_style(t, a.style)
    if t.rate is not None and t.rate >= _HIGH_RATE and t.measurable >= 30:
        yield "The pictures are consistent: they can go into a training set after a look at the least alike ones."


def _about_second(t: Tally, pack: str) -> Iterator[str]:
    if t.second is None or t.rate is None:
        return
    share = t.second_accepted / t.second.count
    agree = "agrees" if abs(share - t.rate) <= 0.1 else "does not agree: believe the second one"
    yield (
        f"The second face model {pack} accepts {t.second_accepted} of {t.second.count} (mean {plus_minus(t.second)}), "
        f"which {agree}."
    )


def _about_style(t: Tally, style: str) -> Iterator[str]:
    bare = t.pictures - t.references - (0 if t.style is None else t.style.count)
    if t.style is not None:
        verdict = "keep" if t.style.mean >= STYLE_GOOD else "do not keep"
        yield (
            f"Background and style {verdict} to {style}: mean match {t.style.mean:.2f}, {t.style_kept:,} of "
            f"{_pictures(t.style.count)} from {STYLE_GOOD:.2f} on."
        )
    if style and bare:
        yield (
            f"{_pictures(bare, 'has', 'have')} no background to compare (less than {100 * LEAST_BACKGROUND:.0f} % is "
            "left beside the face, or the image encoder gave no number), and no style match."
        )
