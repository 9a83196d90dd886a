"""Runs tools/panel.mjs on a ComfyUI with stand-in models and a large library; then tools/two_browsers.mjs on another.

    python tools/check_panel.py [--many 1000] [--shots DIR] [--front-end-root STATIC]

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import check_two_browsers
import harness


def main() -> int:
    given = harness.options(__doc__, many=True).parse_args()

    def prepare(base: Path) -> harness.Words:
        library = harness.copy_sample(base)
        for number in range(given.many):
            _copy(library, number)
        return ["--base", base, "--pictures", harness.REFERENCES, "--many", given.many]

    return harness.drive("panel.mjs", given, prepare) or harness.drive(
        "two_browsers.mjs", given, check_two_browsers.prepare
    )


def _copy(library: Path, number: int) -> None:
    """The sample once more, under another name."""
    folder = library / f"copy_{number:04d}"
    shutil.copytree(library / harness.SLUG, folder)
    path = folder / "profile.toml"
    text = path.read_text(encoding="utf-8").replace(f'slug = "{harness.SLUG}"', f'slug = "{folder.name}"')
    text = text.replace('name = "Mara Voss"', f'name = "Copy {number}"').replace('"maravoss"', f'"copy{number}"')
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
