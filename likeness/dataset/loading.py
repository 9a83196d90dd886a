"""A set that was built, read back picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LikenessError
from ..files import read_limited
from ..images import RGB8, read_layers
from ..paths import contained, inside
from .captions import read_caption
from .plan import Item, SetPlan
from .set_folder import IMAGES, read_set
from .sources import MAX_CAPTION_BYTES, SET_FILE
from .workers import in_order

TRAINING = ("likeness", "training")  # below ComfyUI's output folder


@dataclass(frozen=True)
class Opened:
    """A set on the disk."""

    folder: Path
    plan: SetPlan

    def place(self, item: Item, suffix: str) -> Path:
        return inside(self.folder, f"{IMAGES}/{self.plan.folder_of(item)}/{item.stem}{suffix}")

    def caption(self, item: Item) -> str:
        """As the file has it now. StorageError or LikenessError."""
        return read_caption(read_limited(self.place(item, ".txt"), MAX_CAPTION_BYTES))


def find_set(output: Path, name: str) -> Opened:
    """The set called `character/set`, or by its folder below `output`. LikenessError where there is none."""
    parts = [part for part in name.strip().replace("\\", "/").split("/") if part]
    if not parts:
        raise LikenessError("No training set is named: connect Build Training Set, or write character/set.")
    tried = [contained(output, *parts), contained(output, *TRAINING, *parts)]
    folder = next((path for path in tried if (path / SET_FILE).is_file()), tried[-1])
    return Opened(folder, read_set(folder).plan)


def pictures_of(opened: Opened, items: Sequence[Item], check: Callable[[], None] = lambda: None) -> Iterator[RGB8]:
    """Each picture once, uint8 [H, W, 3]. LikenessError for one that is gone or has another size than its bucket."""

    def load(item: Item) -> RGB8:
        pixels = read_layers(opened.place(item, ".png")).rgb
        height, width = pixels.shape[:2]
        if (width, height) != (item.bucket_width, item.bucket_height):
            raise LikenessError(
                f"{opened.place(item, '.png')} is {width} x {height} px, but was written with {item.bucket_width} x "
                f"{item.bucket_height} px: build the set again."
            )
        return pixels

    yield from in_order(items, load, check)
