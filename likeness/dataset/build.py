"""A plan becomes a folder: put together beside the old one, flushed to the disk, and exchanged with it in one step.

A program that is killed at any moment leaves the old set whole or the new one whole. What is not ours in the folder,
such as a trainer's output, is in both.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import LikenessError
from ..files import (
    atomic_write,
    delete_folder,
    flush_folder,
    link_files,
    make_folder,
    read_limited,
    swap_folders,
    write_new,
)
from ..images import RGB8, encode_jpeg
from ..paths import contained, inside
from .plan import MAX_BYTES, Item, SetPlan, folder_name
from .preview import THUMB, sheet, shown_in, thumbs_of
from .render import render
from .set_folder import (
    IMAGES,
    MASKS,
    REGULAR,
    bring_over,
    contents,
    edited,
    emit_set,
    guard,
    read_set_quietly,
    recover,
    set_lock,
    stage_of,
    stamps,
)
from .sources import SET_FILE, Sources
from .workers import CORES, in_order

SHEET, SHEET_SIDE = "sheet.jpg", 4096  # px
MASK_SUFFIX = "-masklabel.png"  # as OneTrainer names it

Configs = Callable[[SetPlan, Path, SetPlan | None], Mapping[str, bytes]]  # as `configs.config_files`
Progress = Callable[[int, int], None]  # (pictures done, of)


@dataclass(frozen=True)
class Built:
    """A set that was written."""

    folder: Path
    plan: SetPlan
    files: Mapping[str, str]  # below the folder -> sha256
    changed: bool  # False: the folder held the very same files already


@dataclass(frozen=True)
class _Job:
    item: Item
    place: str  # below the set's folder, without a suffix
    mask: str  # of the mask's file, "" for none
    shown: bool  # on the sheet
    plan: SetPlan
    sources: Sources


def set_folder(root: Path, plan: SetPlan) -> Path:
    """Where ComfyUI keeps the set: `<root>/likeness/training/<character>/<set>`, inside `root` for certain."""
    return contained(root, "likeness", "training", plan.slug, plan.name)


def build(
    plan: SetPlan,
    sources: Sources,
    folder: Path,
    configs: Configs,
    *,
    regular: tuple[SetPlan, Sources] | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, of: None,
    check: Callable[[], None] = lambda: None,
    workers: int = CORES,
) -> Built:
    """Write the set into `folder`; whatever goes wrong, what was there stays as it was.

    `configs` gives the trainers' files for the final folder. `regular`: a plan of regularisation pictures, whose
    captions hold the class word and no trigger.
    `overwrite`: also where captions of the old set were changed by hand. `progress` and `check`, many times a second,
    may raise to stop. LikenessError where a picture is gone or has changed, or the folder holds what is not ours.
    """
    if not plan.items:
        raise LikenessError(f"The set {plan.name!r} has no picture: every one was left out. {_why(plan)}")
    if regular is not None:
        _check_regular(plan, regular[0])
    extra = dict(configs(plan, folder, None if regular is None else regular[0]))
    jobs = [*_jobs(plan, sources, IMAGES), *(_jobs(*regular, REGULAR) if regular else ())]
    make_folder(folder.parent)
    with set_lock(folder):
        recover(folder)
        tops = {SET_FILE, SHEET, *(p.split("/")[0] for p in (*extra, *(j.place for j in jobs)))}
        guard(folder, tops, overwrite, plan)
        before, stage = stamps(folder), stage_of(folder)
        try:
            files, thumbs = _written(stage, jobs, workers, progress, check)
            extra[SHEET] = _sheet(plan, sources, thumbs, check)
            files |= {name: _write(stage, name, data) for name, data in sorted(extra.items())}
            changed = not _is_same(folder, emit_set(plan, files))
            if changed:
                _seal(stage, folder, emit_set(plan, files), check)
                if stamps(folder) != before:  # somebody wrote a caption while the pictures were rendered
                    guard(folder, tops, overwrite, plan)
                swap_folders(stage, folder)
        except BaseException:
            with suppress(LikenessError):
                delete_folder(stage)
            raise
        if changed and stage.is_dir():
            bring_over(stage, folder)  # where that fails, the old set stays beside the new one for `recover`
        delete_folder(stage)
    return Built(folder, plan, files, changed)


def _check_regular(plan: SetPlan, regular: SetPlan) -> None:
    """LikenessError where regularisation pictures would train the trigger on somebody else."""
    wrong = next((i for i in regular.items if plan.trigger.casefold() in i.caption.casefold()), None)
    if wrong is not None:
        raise LikenessError(
            f"The caption of the regularisation picture {wrong.source} holds the trigger word {plan.trigger!r}: plan "
            "those pictures as regularisation pictures."
        )
    if regular.shape != plan.shape:
        raise LikenessError("The regularisation pictures were planned for other sizes than the set: plan them again.")


def _why(plan: SetPlan) -> str:
    return ", ".join(f"{n} {code}" for code, n in plan.counts.items()) or "There were none."


def _jobs(plan: SetPlan, sources: Sources, below: str) -> Iterator[_Job]:
    shown = {cell.source for cell in shown_in(plan)} if below == IMAGES else set()
    for item in plan.items:
        folder = plan.folder_of(item) if below == IMAGES else folder_name(1, plan.class_word, "", plan.slug)
        place = f"{below}/{folder}/{item.stem}"
        mask = f"{MASKS}/{folder}/{item.stem}{MASK_SUFFIX}" if item.alpha and below == IMAGES else ""
        yield _Job(item, place, mask, item.source in shown, plan, sources)


def _sheet(plan: SetPlan, sources: Sources, thumbs: dict[str, RGB8], check: Callable[[], None]) -> bytes:
    """JPEG; pictures that were not rendered are opened for it."""
    others = [c.source for c in shown_in(plan) if c.source not in thumbs]
    return encode_jpeg(sheet(plan, {**thumbs, **thumbs_of(sources, others, check)}), SHEET_SIDE)


def _written(
    stage: Path, jobs: Sequence[_Job], workers: int, progress: Progress, check: Callable[[], None]
) -> tuple[dict[str, str], dict[str, RGB8]]:
    """Render and write every picture with its caption; the sha256 of each file, and thumbnails for the sheet."""
    files: dict[str, str] = {}
    thumbs: dict[str, RGB8] = {}
    stopped = threading.Event()

    def make(job: _Job) -> tuple[_Job, list[tuple[str, str]], RGB8 | None]:
        made = render(job.item, job.sources.find(job.item.source), job.plan.rules, THUMB if job.shown else 0)
        if stopped.is_set():
            return job, [], None  # the staging folder is being removed
        parts = [(f"{job.place}.png", made.png), (f"{job.place}.txt", f"{job.item.caption}\n".encode())]
        parts += [(job.mask, made.mask)] if job.mask and made.mask is not None else []
        return job, [(name, _write(stage, name, data)) for name, data in parts], made.thumb

    progress(0, len(jobs))
    try:
        with closing(in_order(jobs, make, check, workers)) as rendered:
            for done, (job, written, thumb) in enumerate(rendered, 1):
                files.update(written)
                if thumb is not None:
                    thumbs[job.item.source] = thumb
                progress(done, len(jobs))
    except BaseException:
        stopped.set()
        raise
    return files, thumbs


def _write(stage: Path, name: str, data: bytes) -> str:
    write_new(inside(stage, name), data)
    return hashlib.sha256(data).hexdigest()


def _seal(stage: Path, folder: Path, text: bytes, check: Callable[[], None]) -> None:
    """The last steps before the exchange: `set.json`, the disk, and links to what is not ours."""
    check()
    atomic_write(stage / SET_FILE, text)  # `recover` reads it: never the half of it
    flush_folder(stage, check)
    for name in contents(folder).foreign if (folder / SET_FILE).is_file() else ():
        link_files(folder / name, stage / name)


def _is_same(folder: Path, text: bytes) -> bool:
    """Whether the folder holds this very set, nobody has changed a file, and no trainer has left a cache."""
    path = folder / SET_FILE
    if not path.is_file() or read_limited(path, MAX_BYTES) != text:
        return False
    return not contents(folder).stale and not any(edited(folder, read_set_quietly(folder)))
