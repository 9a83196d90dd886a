"""Builds a set in child processes that are killed at one file operation each, and says what they left.

    python killing.py ROOT exchange|renames

Prints one JSON line per kill: the operation, what a reader finds before anything is restored, and after it.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[3])]

from likeness import files  # noqa: E402
from likeness.dataset.build import build  # noqa: E402
from likeness.dataset.set_folder import read_set  # noqa: E402
from likeness.dataset.sources import folder_sources  # noqa: E402
from tests.unit.dataset.pictures import no_configs, plan_of, tree  # noqa: E402

OPERATIONS = ("replace", "rename", "link", "mkdir", "unlink", "rmdir", "fsync")


class Killer:
    """Ends the process at the n-th operation: before it, or after it; in the middle of a file that is written."""

    def __init__(self, number: int, before: bool) -> None:
        self.left, self.before = number, before

    def at(self, name: str, function: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and self.before:
                os._exit(7)
            result = function(*arguments, **options)
            if self.left == 0:
                os._exit(7)
            return result

        return wrapped

    def install(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self.at(name, getattr(os, name)))
        files.exchange = self.at("exchange", files.exchange)
        opened = builtins.open

        def torn(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = opened(path, mode, *arguments, **options)
            if mode == "xb":
                self.left -= 1
                if self.left == 0:
                    if not self.before:
                        file.write(b"half of it")
                        file.flush()
                    os._exit(7)
            return file

        builtins.open = torn  # type: ignore[assignment]


def attempt(number: int, before: bool, job: Any) -> bool:
    """Whether the child was killed."""
    child = os.fork()
    if child == 0:
        Killer(number, before).install()
        try:
            job()
        except BaseException:
            os._exit(9)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 9:
        raise RuntimeError(f"the build failed at operation {number}")
    return status == 7


def main(root: Path, how: str) -> None:
    if how == "renames":
        files.exchange = lambda first, second: False
    photos, out = root / "photos", root / "sets" / "ada" / "first"
    old_plan, old_sources = plan_of(photos)
    (photos / "01.png").unlink()
    new_plan, new_sources = plan_of(photos)
    shutil.copy(root / "01.png", photos)
    for before in (True, False):
        number = 0
        while True:
            number += 1
            shutil.rmtree(root / "sets", ignore_errors=True)
            build(old_plan, old_sources, out, no_configs)
            (out / "output").mkdir()
            (out / "output" / "lora.safetensors").write_bytes(b"trained for a night")
            old = tree(out)
            if not attempt(number, before, lambda: build(new_plan, new_sources, out, no_configs, workers=1)):
                break
            raw = tree(out) if out.is_dir() else None
            read_set(out)
            after = tree(out)
            build(new_plan, new_sources, out, no_configs)
            print(json.dumps({"number": number, "raw": name_of(raw, old), "after": name_of(after, old),
                              "rebuilt": name_of(tree(out), old), "left": strays(out)}))  # fmt: skip
    print(json.dumps({"photos": sorted(s.name for s in folder_sources(photos).pictures)}))


def strays(out: Path) -> list[str]:
    return sorted(p.name for p in out.parent.iterdir() if p.name.startswith(".likeness-"))


def name_of(found: dict[str, bytes] | None, old: dict[str, bytes]) -> str:
    """Which set it is, and whether the trainer's file is there."""
    if found is None:
        return "nothing"
    output = "+lora" if found.get("output/lora.safetensors") == b"trained for a night" else ""
    rest = {k: v for k, v in found.items() if not k.startswith("output/")}
    if rest == {k: v for k, v in old.items() if not k.startswith("output/")}:
        return f"old{output}"
    known = json.loads(rest.get("set.json", b"{}")).get("files", {})
    whole = {*known, "set.json"} == set(rest) and all(
        hashlib.sha256(rest[k]).hexdigest() == v for k, v in known.items()
    )
    return f"new{output}" if whole and len(known) == 4 else "torn"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
