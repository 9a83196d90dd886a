"""A folder or a batch of pictures -> rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__, images
from ..calibration import reference_digest
from ..errors import ImageError, LikenessError
from ..faces.face import Analyser
from ..images import RGB8
from ..picking import identity_cosine, numbered
from ..scoring import Judge, Score
from ..style import StyleMatch
from .folder import LeftOut, list_pictures, shown
from .journal import Journal, Stamp
from .rows import Row, row_of

if TYPE_CHECKING:
    from ..faces.stream import Analysed

_MAX_REASON = 300  # characters


@dataclass(frozen=True, repr=False)
class Measures:
    """What a picture is measured by."""

    analyser: Analyser
    judge: Judge
    style: StyleMatch | None = None

    def key(self) -> str:
        """sha256, hex, of everything that decides a row besides the picture."""
        judge, style = self.judge, self.style
        known = {
            "tool": __version__,
            "encoder": self.analyser.pipeline.key(),
            "references": reference_digest(judge.character),
            "band": judge.band.low,
            "limits": asdict(judge.limits),
            "copy": round(judge.copy_limit, 6),
            "drawn": [judge.gate is not None, judge.measure_drawn],
            "second": None if judge.second is None else judge.second.pipeline.key(),
            "look": None if judge.look is None else judge.look.name,
            "style": None if style is None else [style.embedder.name, np.round(style.centroid, 3).tobytes().hex()],
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def row(self, name: str, found: Analysed[_File]) -> Row:
        """LikenessError where the second encoder or the look fails."""
        assert found.picture is not None
        score = self.judge.score(name, found.faces, found.picture)
        return row_of(score, None if self.style is None else self.style.match(found.picture, found.faces))


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    resumed: int  # of `done`, from an earlier run
    verdicts: Mapping[str, int]
    left_out: int


@dataclass(frozen=True)
class Measured:
    """Every picture, in order; what could not be read apart."""

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...] = ()
    outside: tuple[str, ...] = ()  # of the rows those that are links to files outside the folder


@dataclass
class _File:
    """One file of the folder on its way through the analyser."""

    name: str
    path: Path
    stamp: Stamp | None = None  # before it was read

    def load(self) -> RGB8:
        self.stamp = stamp_of(self.path)
        if self.stamp is not None and self.stamp.size == 0 and os.path.isfile(self.path):  # noqa: PTH113 - never raises
            raise ImageError(f"{self.path.name}: the file is empty: save or download it again.")
        return images.read(self.path)


def stamp_of(path: Path) -> Stamp | None:
    """None for a file that is gone."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


@dataclass
class _Run:
    """The rows so far."""

    folder: Path
    measures: Measures
    journal: Journal | None
    rows: dict[str, Row] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)

    def take(self, name: str, row: Row) -> None:
        self.rows[name] = row
        self.verdicts[row.verdict] += 1

    def drop(self, name: str, reason: str) -> None:
        self.left_out.append(LeftOut(name, reason))

    def receive(self, found: Analysed[_File]) -> None:
        file = found.key
        if found.error is not None:
            return self.drop(file.name, self._reason(found.error, file))
        try:
            row = self.measures.row(file.name, found)
        except LikenessError as error:
            return self.drop(file.name, self._reason(error, file))
        if file.stamp is None or file.stamp != stamp_of(file.path):
            return self.drop(file.name, "the file changed or vanished while it was measured: run the report again")
        self.take(file.name, row)
        if self.journal is not None:
            self.journal.add(row, file.stamp)

    def _reason(self, error: LikenessError, file: _File) -> str:
        """Without the file's own name, which stands beside it, and without the folder's place."""
        text = str(error).replace(str(file.path), "the file").replace(f"{file.path.name}: ", "")
        return shown(text.replace(str(self.folder), "the folder"))[:_MAX_REASON]

    def progress(self, total: int, resumed: int) -> Progress:
        done = len(self.rows) + len(self.left_out)
        return Progress(done, total, resumed, dict(self.verdicts), len(self.left_out))


def measure_folder(
    folder: Path,
    measures: Measures,
    journal: Journal | None = None,
    progress: Callable[[Progress], None] = lambda now: None,
    check: Callable[[], None] = lambda: None,
) -> Measured:
    """Every picture below the folder; never raises for what lies in it. `check` may raise to stop."""
    from ..faces.stream import analyse_many  # not at start-up: most graphs never measure a folder

    listing = list_pictures(folder, check)
    run = _Run(folder, measures, None if journal is None else journal.of(folder), left_out=list(listing.left_out))
    total = len(listing.pictures) + len(listing.left_out)
    waiting = list(_not_yet(run, listing.pictures, check))
    resumed = len(run.rows)
    progress(run.progress(total, resumed))
    items = ((file, file.load) for file in (_File(name, folder / name) for name in waiting))
    with closing(analyse_many(items, measures.analyser, check=check)) as stream:  # type: ignore[type-var]
        for found in stream:
            run.receive(found)
            progress(run.progress(total, resumed))
    rows = (run.rows[name] for name in listing.pictures if name in run.rows)
    left_out = sorted(run.left_out, key=lambda x: os.fsencode(x.name))
    return Measured(tuple(rows), tuple(left_out), tuple(name for name in listing.outside if name in run.rows))


def _not_yet(run: _Run, names: Iterable[str], check: Callable[[], None]) -> Iterator[str]:
    """The pictures that no earlier run has measured as they are now; the others' rows are taken over."""
    kept = {} if run.journal is None else run.journal.resume()
    for name in names:
        check()
        before = kept.get(name)
        if before is not None and stamp_of(run.folder / name) == before[0]:
            run.take(name, before[1])
        else:
            yield name


def check_verdicts(scores: Sequence[Score], low: float) -> None:
    """LikenessError where a score was decided with another threshold than `low`, so that figures would contradict
    the band that the report names."""
    for i, score in enumerate(scores):
        cosine = identity_cosine(score)
        if cosine is not None and (cosine >= low) != (score.verdict == "accepted"):
            why = score.reason or f"similarity {cosine:.3f}"
            raise LikenessError(
                f"{numbered(i).capitalize()} came as {score.verdict} ({why}), but "
                f"this report accepts from {low:.3f} on: give Score Likeness and Consistency Report the same threshold "
                "and face model, or connect the images alone."
            )


def measure_batch(
    scores: Sequence[Score],
    pictures: Sequence[RGB8],
    style: StyleMatch | None = None,
    check: Callable[[], None] = lambda: None,
) -> Measured:
    """Pictures that are scored already. `pictures` may be empty where there is no style to compare."""
    rows = []
    for i, score in enumerate(scores):
        check()
        match = None
        if style is not None and i < len(pictures):
            match = style.match(pictures[i], [f.face for f in score.faces])
        rows.append(row_of(score, match))
    return Measured(tuple(rows))
