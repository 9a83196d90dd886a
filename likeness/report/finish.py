"""The last steps: groups, figures, thumbnails, and the two files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from .. import images
from ..errors import LikenessError
from ..files import atomic_write
from ..images import RGB8
from .document import Report, to_json
from .page import to_html
from .rows import Row
from .settings import Reader, read_settings
from .words import advice

THUMBNAIL = 160  # px, the longer side
_PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Files:
    """Where a report goes."""

    json: Path
    html: Path

    @property
    def journal(self) -> Path:
        """Lies there while the report is made."""
        return self.json.with_name(f"{self.json.name}.part")


def files_for(out: Path, html: Path | None = None) -> Files:
    """The page lies beside the JSON where no other place is given; `out` may also name the page alone."""
    if not out.name:
        raise LikenessError(f"{out} is a folder: give a file name, for example report.json.")
    if out.suffix.lower() in _PAGES and html is None:
        out, html = out.with_suffix(".json"), out
    if out.suffix.lower() in _PAGES or (html not in (None, out) and html.suffix.lower() == ".json"):
        raise LikenessError(
            f"{out} would hold the JSON and {html} the page: give the JSON a name that ends with .json."
        )
    files = Files(out, html or out.with_name(f"{out.name.removesuffix('.json')}.html"))
    if taken := next((path for path in (files.json, files.html) if path.is_dir()), None):
        raise LikenessError(f"{taken} is a folder: give a file name, for example report.json.")
    if files.json == files.html:
        raise LikenessError(f"{out} cannot be both the JSON and the page: give two names.")
    return files


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def settings_below(folder: Path) -> Reader:
    """The settings of a folder's pictures by name."""
    return lambda name: read_settings(folder / name)


def save(
    report: Report, files: Files, pictures: Callable[[Row], RGB8 | None], check: Callable[[], None] = lambda: None
) -> None:
    """Write both files, each whole or not at all. StorageError."""
    sentences = advice(report)

    def thumbnail(row: Row) -> bytes | None:
        check()
        pixels = pictures(row)
        return None if pixels is None else images.encode_jpeg(pixels, THUMBNAIL)

    page = to_html(report, sentences, thumbnail)
    atomic_write(files.html, page)
    atomic_write(files.json, to_json(report, sentences))


def pictures_below(folder: Path) -> Callable[[Row], RGB8 | None]:
    """Reads a row's picture again; None for one that is gone."""

    def read(row: Row) -> RGB8 | None:
        try:
            return images.read(folder / row.name)
        except LikenessError:
            return None

    return read


def pictures_of(names: Sequence[str], pictures: Sequence[RGB8]) -> Callable[[Row], RGB8 | None]:
    """The pictures of a batch by name."""
    known: Mapping[str, RGB8] = dict(zip(names, pictures, strict=False))
    return lambda row: known.get(row.name)
