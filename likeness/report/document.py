"""Everything that a report says, and its JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import __version__
from ..faces.face import Analyser, describe_engine
from ..hand_set import HandSet, hand_set
from ..scoring import Judge
from ..style import STYLE_GOOD, StyleMatch
from .folder import LeftOut, shown
from .groups import NONE, Grouping, group_values
from .measure import Measured
from .rows import Row
from .settings import Reader
from .statistics import POSES, Spread, Tally, Welch, histogram, pose_of, tally, welch

SCHEMA = 1
FEW = 5  # measurable pictures below which a group is ranked after those that have more


@dataclass(frozen=True)
class About:
    """What was asked, and by what it was measured."""

    title: str
    character: str  # display name
    slug: str
    source: str  # the folder's own name, or "batch"; never a path
    made: str  # ISO 8601, UTC
    face_model: str  # pack and where it ran
    band: float  # cosine from which a picture is accepted
    band_source: str  # "calibrated", "not calibrated", "set by hand"
    steered: bool  # the face model also steers FaceID
    second: str = ""  # pack of the independent encoder, and
    second_band: float | None = None
    style: str = ""  # name of the style, and
    style_encoder: str = ""
    copy_limit: float | None = None  # cosine to a reference above which a picture counts as its copy
    hand_set: HandSet | None = None  # what else is known of a threshold that was set by hand
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """The pictures that share a value."""

    value: str
    tally: Tally
    similarities: tuple[float, ...]  # of the measurable pictures, in order of the rows


@dataclass(frozen=True)
class GroupTable:
    """The groups of one grouping, best first: by consistency rate, then by mean similarity, those with fewer than
    `FEW` measurable pictures last."""

    name: str
    groups: tuple[Group, ...]
    unknown: Group | None = None  # pictures that are in no group, which is no rival of the others
    tells: str = ""  # what they do not: "says which LoRA"

    @property
    def listed(self) -> tuple[Group, ...]:
        """All of them, those that are in no group last."""
        return self.groups if self.unknown is None else (*self.groups, self.unknown)

    @property
    def contest(self) -> Welch | None:
        """The best one's mean against the second's; None where it cannot be told."""
        spreads = [g.tally.similarity for g in self.groups[:2]]
        if len(spreads) < 2 or spreads[0] is None or spreads[1] is None:
            return None
        return welch(spreads[0], spreads[1])


@dataclass(frozen=True)
class Report:
    """A finished report."""

    about: About
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    tally: Tally
    tables: tuple[GroupTable, ...]
    poses: GroupTable  # in order of the pose
    values: tuple[tuple[str, ...], ...]  # of every row its group in every table
    worst: tuple[Row, ...]  # least alike first; measurable ones
    best: tuple[Row, ...]
    outside: tuple[str, ...] = ()  # names of pictures that are links to files outside the folder

    @property
    def counted(self) -> tuple[Row, ...]:
        """The rows that the figures are over: without references that lie among the pictures."""
        return tuple(r for r in self.rows if not r.is_reference)


def about(
    judge: Judge, analyser: Analyser, *, title: str, source: str, made: str, style: StyleMatch | None = None
) -> About:
    """Of a judge and the face model that it judges by, after it has run."""
    profile, second = judge.character.profile, judge.second
    return About(
        shown(title)[:200],
        profile.name,
        profile.slug,
        shown(source),
        made,
        describe_engine(analyser),
        judge.band.low,
        judge.band.source,
        judge.conditions,
        "" if second is None else second.pipeline.pack,
        None if judge.second_band is None else judge.second_band.low,
        "" if style is None else shown(style.name),
        "" if style is None else shown(style.embedder.name),
        round(judge.copy_limit, 4),
        hand_set(judge),
        (*judge.notes(), *(() if style is None else map(shown, style.notes))),
    )


def build(
    about: About,
    measured: Measured,
    groupings: Sequence[Grouping] = (),
    read: Reader = lambda name: {},
    top: int = 12,
    check: Callable[[], None] = lambda: None,
) -> Report:
    """The report. `read` gives a picture's settings; `top`: of the worst and best, each; `check` is called for every
    picture. `read` and `check` may raise to stop."""
    rows = measured.rows
    values = group_values([r.name for r in rows], groupings, read, check)
    make = _tallier(about)
    tables = [_ranked(g, _groups(rows, [v[i] for v in values], make)) for i, g in enumerate(groupings)]
    turned = [r for r in rows if r.yaw is not None]
    poses = {g.value: g for g in _groups(turned, [pose_of(r) or "" for r in turned], make)}
    compared = (r for r in rows if r.similarity is not None and not r.is_reference)
    ranked = sorted(compared, key=lambda r: (r.similarity, r.name))
    worst = ranked[: min(top, (len(ranked) + 1) // 2)]
    best = ranked[::-1][: min(top, len(ranked) - len(worst))]
    return Report(
        about,
        rows,
        measured.left_out,
        make(rows),
        tuple(tables),
        GroupTable("pose", tuple(poses[p] for p in POSES if p in poses)),
        tuple(values),
        tuple(worst),
        tuple(best),
        measured.outside,
    )


Tallier = Callable[[Sequence[Row]], Tally]


def _tallier(about: About) -> Tallier:
    return lambda rows: tally(rows, about.second_band, STYLE_GOOD)


def _groups(rows: Sequence[Row], values: Sequence[str], make: Tallier) -> list[Group]:
    together: dict[str, list[Row]] = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        together[value].append(row)
    return [
        Group(value, make(found), tuple(r.similarity for r in found if r.similarity is not None and not r.is_reference))
        for value, found in together.items()
    ]


def _ranked(grouping: Grouping, groups: Sequence[Group]) -> GroupTable:
    """A group of those without a value would be compared with LoRAs or settings, although nobody knows theirs."""
    unknown = next((g for g in groups if g.value == NONE), None) if grouping.tells else None
    known = sorted((g for g in groups if g is not unknown), key=_rank)
    return GroupTable(grouping.name, tuple(known), unknown, grouping.tells)


def _rank(group: Group) -> tuple[object, ...]:
    """By consistency, then by mean; few pictures after many, since a single one is soon at 1."""
    t = group.tally
    mean = -2.0 if t.similarity is None else t.similarity.mean
    return (t.measurable < FEW, -(t.rate if t.rate is not None else -1.0), -mean, group.value)


# ---- JSON


def to_json(report: Report, advice: Sequence[str]) -> bytes:
    """UTF-8, keys sorted; no embedding, and names below the folder only."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "likeness consistency report",
        "tool": f"likeness {__version__}",
        "about": {**asdict(report.about), "band": round(report.about.band, 4)},
        "summary": _tally(report.tally) | {"not_readable": len(report.left_out)},
        "histogram": [{"from": edge, "count": n} for edge, n in histogram(r.similarity for r in report.counted)],
        "groups": {table.name: _table(table) for table in report.tables},
        "poses": _table(report.poses)["ranking"],
        "advice": list(advice),
        "worst": [_told(r) for r in report.worst],
        "best": [_told(r) for r in report.best],
        "pictures": [_row(report, i) for i in range(len(report.rows))],
        "links_outside": [shown(name) for name in report.outside],
        "not_readable": [{"name": shown(x.name), "reason": x.reason} for x in report.left_out],
    }
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a character becomes JSON's own \udcff


def _row(report: Report, index: int) -> dict[str, Any]:
    row = report.rows[index]
    told = {key: value for key, value in row.as_dict().items() if value is not None and value != ""}
    groups = dict(zip((t.name for t in report.tables), report.values[index], strict=True))
    told |= {"is_reference": True} if row.is_reference else {}
    texts = {"name": shown(row.name), "reason": shown(row.reason), "similarity": row.similarity}
    return told | texts | ({"groups": groups} if groups else {})


def _told(row: Row) -> dict[str, Any]:
    """With its verdict: the least alike may well be accepted."""
    return {"name": shown(row.name), "similarity": row.similarity, "verdict": row.verdict}


def _table(table: GroupTable) -> dict[str, Any]:
    contest = table.contest
    told = None
    if contest is not None:
        told = {**{key: _short(value) for key, value in vars(contest).items()}, "beyond_noise": contest.beyond_noise}
    ranking = [{"value": g.value, **_tally(g.tally)} for g in table.groups]
    unknown = None if table.unknown is None else _tally(table.unknown.tally)
    return {"ranking": ranking, "in_no_group": unknown, "first_against_second": told}


def _tally(t: Tally) -> dict[str, Any]:
    values: dict[str, Any] = {
        "pictures": t.pictures,
        "accepted": t.accepted,
        "rejected": t.rejected,
        "not_measurable": t.not_measurable,
        "references": t.references,
        "copies": t.copies,
        "drawn": t.drawn,
        "consistency_rate": _short(t.rate),
        "consistency_interval_95": None if t.interval is None else [_short(v) for v in t.interval],
        "reasons": dict(t.reasons),
        "similarity": _spread(t.similarity),
    }
    if t.second is not None:
        values["second"] = {**(_spread(t.second) or {}), "accepted": t.second_accepted}
    if t.style is not None:
        values["style"] = {**(_spread(t.style) or {}), "kept": t.style_kept, "good_from": STYLE_GOOD}
    return values


def _spread(spread: Spread | None) -> Mapping[str, Any] | None:
    return None if spread is None else {key: _short(value) for key, value in vars(spread).items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
