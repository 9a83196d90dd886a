"""The folder of a built set: what belongs to it, what does not, and what has changed since.

set.json                                plan and sha256 of every file; what it does not name is not ours
img/<repeats>_<trigger> <class>/        pictures and captions, nothing else
reg/1_<class>/  masks/  cache/          regularisation pictures, masks for OneTrainer, a trainer's caches
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .. import __version__
from ..errors import LikenessError, StorageError
from ..files import TEMP_PREFIX, aside_of, delete_folder, finish_swap, locked, move_entry, read_limited, read_pieces
from ..images import read
from ..library import LOCKS
from ..paths import inside
from .captions import read_caption, starts_with_trigger
from .plan import MAX_BYTES, SetPlan, Sha256, Value, read_model
from .sources import MAX_CAPTION_BYTES, SET_FILE

IMAGES, REGULAR, MASKS, CACHE = "img", "reg", "masks", "cache"
# What trainers keep of the pictures, wrong as soon as the set is another one: sd-scripts, ai-toolkit, musubi-tuner.
STALE = (".npz", "metadata_cache.json", ".aitk_size.json")
_STALE_FOLDERS = ("_latent_cache", "_t_e_cache")
_CACHED = (*STALE, ".safetensors", ".pt")  # below `cache/`
_CLUTTER = (".ds_store", "thumbs.db", "desktop.ini")
_LOCK_SECONDS = 2.0


class SetFile(Value):
    """`set.json`."""

    schema_version: Literal[1] = 1
    tool: str = Field(default="", max_length=200)
    plan: SetPlan
    files: dict[Annotated[str, Field(max_length=400)], Sha256]  # below the set's folder -> of its bytes


@dataclass(frozen=True)
class Contents:
    """What lies in a set's folder."""

    ours: tuple[str, ...]  # named by set.json
    stale: tuple[str, ...]  # caches and clutter, which go with the next build
    strange: tuple[str, ...]  # files of somebody else in our own subfolders
    foreign: tuple[str, ...]  # entries beside ours, such as a trainer's output; they stay


def emit_set(plan: SetPlan, files: Mapping[str, str]) -> bytes:
    """`set.json`; equal plans and files give equal bytes."""
    made = SetFile(tool=f"likeness {__version__}", plan=plan, files=dict(sorted(files.items())))
    return (json.dumps(made.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n").encode()


def read_set(folder: Path) -> SetFile:
    """The set in `folder`, after a build that was killed has been completed or taken back.

    LikenessError where there is none.
    """
    if leftovers(folder):
        with set_lock(folder):
            recover(folder)
    path = folder / SET_FILE
    if not path.is_file():
        raise LikenessError(f"{folder} is no training set of Likeness: it has no {SET_FILE}.")
    return read_model(SetFile, read_limited(path, MAX_BYTES), path)


def set_lock(folder: Path) -> AbstractContextManager[None]:
    """Only one program builds or restores a set at a time."""
    return locked(folder.parent / LOCKS / f"{folder.name}.lock", _LOCK_SECONDS)


def stage_of(folder: Path) -> Path:
    """Where the next version of a set is put together: beside it, so that a rename is enough."""
    return folder.parent / f"{TEMP_PREFIX}{folder.name}.new"


def leftovers(folder: Path) -> bool:
    """Whether a build was killed."""
    return stage_of(folder).exists() or aside_of(folder).exists()


def recover(folder: Path) -> None:
    """Under the set's lock: what a killed build left is completed or removed. What was not ours is brought over."""
    stage = stage_of(folder)
    finish_swap(stage, folder)
    if stage.is_dir():
        if (stage / SET_FILE).is_file() and folder.is_dir():
            bring_over(stage, folder)
        delete_folder(stage)


def bring_over(old: Path, new: Path) -> None:
    """Move what is not ours from a replaced set into the one that replaces it."""
    for name in contents(old).foreign:
        move_entry(old / name, new / name)


def contents(folder: Path) -> Contents:
    """Sort what lies in a set's folder. LikenessError where it is none."""
    known = read_model(SetFile, read_limited(folder / SET_FILE, MAX_BYTES), folder / SET_FILE).files
    tops = {name.split("/")[0] for name in known} | {SET_FILE, CACHE, IMAGES}
    names = tuple(sorted(entry.name for entry in folder.iterdir()))
    ours, stale, strange = [], [], []
    for name in (n for n in names if n in tops):
        for below in _files(folder, name):
            if below in known or below == SET_FILE:
                ours.append(below)
            elif _is_stale(below):
                stale.append(below)
            else:
                strange.append(below)
    foreign = tuple(n for n in names if n not in tops and not n.lower().endswith(_CLUTTER))
    return Contents(tuple(ours), tuple(stale), tuple(strange), foreign)


def _is_stale(below: str) -> bool:
    """Whether a file in one of our own folders is a trainer's cache, or clutter."""
    kept = _CACHED if below.startswith(f"{CACHE}/") else STALE
    return below.lower().endswith((*kept, *_CLUTTER)) or any(f in _STALE_FOLDERS for f in below.split("/"))


def _files(folder: Path, name: str) -> Iterator[str]:
    """Everything below an entry that is no folder, with "/"."""
    if not (folder / name).is_dir() or (folder / name).is_symlink():
        yield name
        return
    for place, folders, files in os.walk(folder / name):
        links = [f for f in folders if Path(place, f).is_symlink()]
        for file in sorted([*files, *links]):
            yield Path(place, file).relative_to(folder).as_posix()


def edited(folder: Path, known: SetFile) -> Iterator[str]:
    """Files of ours with other bytes than they were written with, or gone."""
    for name, digest in known.files.items():
        path = inside(folder, name)
        if not path.is_file():
            yield f"{name}: is missing"
        elif _digest(path) != digest:
            yield f"{name}: has changed"


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    for piece in read_pieces(path):
        found.update(piece)
    return found.hexdigest()


def check_set(folder: Path, check: Callable[[], None] = lambda: None) -> tuple[str, ...]:
    """What differs from the set as it was built, and what a trainer would stumble over; () for a sound one.

    LikenessError where there is no set.
    """
    known = read_set(folder)
    found = list(edited(folder, known))
    sorted_out = contents(folder)
    found += [f"{name}: does not belong to the set; move it away" for name in sorted_out.strange]
    found += [
        f"{name}: a cache of pictures; delete it if it is older than the set"
        for name in sorted_out.stale
        if name.lower().endswith(STALE) and not name.startswith(f"{CACHE}/")
    ]
    for item in known.plan.items:
        check()
        place = f"{IMAGES}/{known.plan.folder_of(item)}/{item.stem}"
        found += [*_picture(folder, f"{place}.png", (item.bucket_width, item.bucket_height))]
        found += [*_caption(folder, f"{place}.txt", known.plan)]
    return tuple(found)


def _picture(folder: Path, name: str, size: tuple[int, int]) -> Iterator[str]:
    path = inside(folder, name)
    if not path.is_file():
        return  # `edited` says so
    try:
        height, width = read(path).shape[:2]
        if (width, height) != size:
            yield f"{name}: is {width} x {height} px and its bucket {size[0]} x {size[1]}"
    except LikenessError as error:
        yield f"{name}: {error}"


def _caption(folder: Path, name: str, plan: SetPlan) -> Iterator[str]:
    path = inside(folder, name)
    if not path.is_file():
        return
    try:
        data = read_limited(path, MAX_CAPTION_BYTES)
        if not starts_with_trigger(read_caption(data), plan):
            yield f"{name}: does not begin with the trigger word {plan.trigger!r}"
        if data.startswith(b"\xef\xbb\xbf") or b"\r" in data or b"\n" in data.strip():
            yield f"{name}: has a byte order mark, more than one line, or line ends of Windows"
    except LikenessError as error:
        yield f"{name}: {error}"


def guard(folder: Path, tops: set[str], overwrite: bool, plan: SetPlan) -> None:
    """LikenessError where building `plan` would lose something that is not ours. `tops`: entries of the new set."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise LikenessError(f"{folder} is no folder: choose another name for the set.")
    if not any(folder.iterdir()):
        return
    if not (folder / SET_FILE).is_file():
        raise LikenessError(f"{folder} holds files that are no training set of Likeness: choose another name.")
    found = contents(folder)
    if found.strange:
        raise LikenessError(
            f"{folder} holds {len(found.strange)} files that do not belong to the set, {found.strange[0]!r} first: "
            "move them away, the next build would delete them."
        )
    clash = sorted(tops & set(found.foreign))
    if clash:
        raise LikenessError(f"{folder / clash[0]} is not of the set, but the new one has that name: move it away.")
    changed = [] if overwrite else _would_lose(folder, plan)
    if changed:
        raise LikenessError(
            f"{folder}: {changed[0]} since it was built ({len(changed)} files in all): plan again from the set, which "
            "keeps captions that were changed, or build with overwrite."
        )


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """(bytes, modification time in ns) of every file below a set's folder; {} where there is none."""
    paths = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {str(path): (about.st_size, about.st_mtime_ns) for path in paths if (about := path.stat())}


def _would_lose(folder: Path, plan: SetPlan) -> list[str]:
    """Files that a person has changed, without captions that the plan holds."""
    known = read_set_quietly(folder)
    changed = [c for c in edited(folder, known) if not c.endswith("is missing")]
    if not changed:
        return []
    planned = {c.source: c.caption for c in plan.choices} | {i.source: i.caption for i in plan.items}
    kept = {
        f"{name}: has changed"
        for source, name in _caption_names(known.plan)
        if planned.get(source) is not None and _is_caption(folder, name, planned[source])
    }
    return [c for c in changed if c not in kept]


def _caption_names(plan: SetPlan) -> Iterator[tuple[str, str]]:
    """(source, its caption file below the set's folder)."""
    for item in plan.items:
        yield item.source, f"{IMAGES}/{plan.folder_of(item)}/{item.stem}.txt"


def _is_caption(folder: Path, name: str, caption: str | None) -> bool:
    path = inside(folder, name)
    try:
        return path.is_file() and read_caption(read_limited(path, MAX_CAPTION_BYTES)) == caption
    except LikenessError:
        return False


def read_set_quietly(folder: Path) -> SetFile:
    """`read_set` for one who holds the lock."""
    path = folder / SET_FILE
    if not path.is_file():
        raise StorageError(f"Could not read {path}: there is no such file.")
    return read_model(SetFile, read_limited(path, MAX_BYTES), path)


def caption_files(folder: Path) -> dict[str, bytes]:
    """Picture -> its caption file as it lies in a built set; without those that are gone."""
    plan, found = read_set(folder).plan, {}
    for source, name in _caption_names(plan):
        path = inside(folder, name)
        if path.is_file():
            found[source] = read_limited(path, MAX_CAPTION_BYTES)
    return found


def captions_by_hand(folder: Path) -> dict[str, str]:
    """Source -> caption, where somebody has changed the caption file of a built set."""
    known, found = read_set(folder), {}
    for source, name in _caption_names(known.plan):
        path = inside(folder, name)
        if name in known.files and path.is_file() and _digest(path) != known.files[name]:
            found[source] = read_caption(read_limited(path, MAX_CAPTION_BYTES))
    return found
