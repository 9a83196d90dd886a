"""Many faces against many characters: our matching beside numpy's bare product, paired.

python benchmarks/matching.py [--faces 100000] [--characters 1000] [--repeats 9]
"""

from __future__ import annotations

import json

import numpy as np
from support import Ratio, arguments, interleaved

from likeness.matching import match


def main() -> None:
    parser = arguments(__doc__ or "", checkout=False)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    faces = rng.standard_normal((options.faces, 512), dtype=np.float32)
    people = rng.standard_normal((options.characters, 512), dtype=np.float32)
    runs = {"product": lambda: faces @ people.T, "match": lambda: match(faces, people)}
    taken = interleaved(runs, options.repeats)
    ratio = Ratio.of(taken["match"], taken["product"])
    print(f"match / numpy's bare product, processor time: {ratio}, {ratio.pairs} pairs")
    if options.json:
        options.json.write_text(json.dumps(vars(ratio)))


if __name__ == "__main__":
    main()
