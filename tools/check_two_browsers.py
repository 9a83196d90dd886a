"""Starts a ComfyUI with stand-in models and runs tools/two_browsers.mjs on it: two browsers and a program at once.

    python tools/check_two_browsers.py [--shots DIR] [--front-end-root STATIC]

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import harness

from likeness import images

COUNT = 60  # pictures


def main() -> int:
    return harness.drive("two_browsers.mjs", harness.options(__doc__).parse_args(), prepare)


def prepare(base: Path) -> harness.Words:
    """The sample character, and many pictures of one person that are equal but for a corner."""
    harness.copy_sample(base)
    folder = base / "pictures"
    folder.mkdir()
    given = [images.read(path) for path in sorted(harness.REFERENCES.glob("*.png"))]
    for number in range(COUNT):
        pixels = given[number % len(given)].copy()
        pixels[:4, :4] = number + 1
        (folder / f"{number:03d}.png").write_bytes(images.encode_png(pixels))
    return ["--base", base, "--pictures", folder]


if __name__ == "__main__":
    sys.exit(main())
