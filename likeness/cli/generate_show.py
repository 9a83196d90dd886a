"""What `likeness generate` shows while it draws, and the table in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import printable
from ..remote.generating import Found, Report, Tick
from ..remote.manifest import Manifest, Picture
from ..remote.pool import Aside, Back, LaneStatus, Missed
from ..scoring import describe

_WIDTH = 110  # characters of a line that is written over
_ROWS = 200  # of the table


class Display:
    """Lines on standard error; on a terminal also one that is written over while servers draw."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""
        self._over = 0

    def __call__(self, report: Report) -> None:
        if isinstance(report, Tick):
            if self._live:
                self._write_over(_status(report))
        elif isinstance(report, Found):
            self._over += report.over
            if not report.earlier:
                for picture in report.pictures:
                    self.line(f"{picture.scene.name}: {_measured(picture)}")
        elif isinstance(report, Missed):
            self.line(f"{report.job.label}: not drawn: {report.reason}")
        elif isinstance(report, Aside):
            self.line(f"{report.reason} It is left alone for a while.")
        elif isinstance(report, Back):
            self.line(f"{report.server} answers again.")

    def line(self, text: str) -> None:
        self._write_over("")
        print(printable(text), file=sys.stderr)

    def close(self) -> None:
        self._write_over("")

    def _write_over(self, text: str) -> None:
        if self._live and text != self._shown:
            blank = " " * len(self._shown)
            print(f"\r{blank}\r{text}", end="", file=sys.stderr, flush=True)
            self._shown = text


def _status(tick: Tick) -> str:
    servers = "; ".join(_server(status) for status in tick.servers)
    return printable(f"  {tick.over} of {tick.scenes}; {servers}")[:_WIDTH]


def _server(status: LaneStatus) -> str:
    where = status.server.split("://")[-1]
    if status.state in ("idle", "aside"):
        return f"{where} {status.state}"
    steps = f" {status.value:.0f}/{status.most:.0f}" if status.most else ""
    return f"{where} {status.label}{steps}" + (" waits" if status.state == "waiting" else "")


def _measured(picture: Picture) -> str:
    return describe(picture.score) if picture.score else f"seed {picture.scene.seed}"


def table(manifest: Manifest, out: Path) -> str:
    """One line for each chosen picture, one for each scene without one, and what came of it all."""
    rows = [
        (p.scene.name, str(p.scene.seed), _measured(p) if p.score else "not scored", str(out / p.file))
        for p in manifest.chosen[:_ROWS]
    ]
    more = len(manifest.chosen) - len(rows)
    lines = list(_columns([("scene", "seed", "likeness", "file"), *rows])) if rows else []
    lines += [f"... and {more} more, all in {out / 'manifest.json'}"] if more else []
    lines += [f"{m.scene}: not drawn: {m.reason}" for m in manifest.missing]
    return "\n".join(printable(line) for line in [*lines, outcome(manifest, out), *manifest.notes])


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])


def outcome(manifest: Manifest, out: Path) -> str:
    """One sentence."""
    counts = manifest.counts()
    found = [f"{counts[k]} {k.replace('_', ' ')}" for k in ("accepted", "rejected", "not_measurable") if counts.get(k)]
    scenes = f"{counts['drawn']} of {counts['scenes']} scene{'s' if counts['scenes'] != 1 else ''} drawn"
    return f"{', '.join([scenes, *found])}; {out / 'manifest.json'}"
