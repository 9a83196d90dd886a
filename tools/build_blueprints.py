"""Starts a ComfyUI with stand-in models and runs tools/build_blueprints.mjs on it.

    python tools/build_blueprints.py build                  write subgraphs/ anew from api_graphs/
    python tools/build_blueprints.py check [--shots DIR]    insert each in the editor, in both renderers

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import harness


def main() -> int:
    given = harness.options(__doc__, ["check", "build"]).parse_args()

    def prepare(base: Path) -> harness.Words:
        harness.copy_sample(base)
        return [given.command, "--api", harness.PACK / "api_graphs", "--out", harness.PACK / "subgraphs"]

    return harness.drive("build_blueprints.mjs", given, prepare)


if __name__ == "__main__":
    sys.exit(main())
