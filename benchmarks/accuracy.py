"""True and false accept rates of the calibrated band, beside fixed thresholds.

    python benchmarks/accuracy.py PEOPLE [MORE ...] --face-models DIR [--pack NAME] [--references 3] [--draws 10]

PEOPLE has one folder of photos per person. In every draw each person with enough photos gets that many
references at random; a band is calibrated from them, with or without the others as rivals; the photos left
over are its own pictures to accept, and every photo of everybody else's is one to reject.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import support  # noqa: F401  (puts the checkout on the path)

from likeness import images
from likeness.calibration import Rival, calibrate
from likeness.character import Character
from likeness.errors import FaceError
from likeness.faces.analyser import OnnxAnalyser
from likeness.faces.face import Face, Pipeline, choose
from likeness.faces.packs import find_pack
from likeness.identity import ReferenceFace, identity_of
from likeness.measurable import Limits, why_not_measurable
from likeness.profile import Profile

FIXED = (0.28, 0.30, 0.32, 0.363, 0.40, 0.45, 0.50, 0.60, 0.65, 0.70)


@dataclass
class Counts:
    """Pictures judged by one rule."""

    own: int = 0
    accepted: int = 0
    strangers: int = 0
    let_in: int = 0

    def add(self, own: Sequence[float], others: Sequence[float], threshold: float) -> None:
        self.own += len(own)
        self.accepted += sum(s >= threshold for s in own)
        self.strangers += len(others)
        self.let_in += sum(s >= threshold for s in others)

    def __str__(self) -> str:
        return (
            f"true accept {self.accepted / max(self.own, 1):.4f} of {self.own}, "
            f"false accept {self.let_in / max(self.strangers, 1):.5f} of {self.strangers}"
        )


def faces_of(folders: Sequence[Path], analyser: OnnxAnalyser) -> dict[str, list[Face]]:
    """The measurable largest face of every photo, by person."""
    people: dict[str, list[Face]] = {}
    limits = Limits()
    for person in sorted(p for folder in folders for p in folder.iterdir() if p.is_dir()):
        for file in sorted(f for f in person.rglob("*") if f.suffix.lower() in images.SUFFIXES):
            face = choose(analyser.analyse(images.read(file)))
            why = "no face" if face is None else why_not_measurable(face, limits)
            if face is None or why:
                print(f"left out {person.name}/{file.name}: {why}")
                continue
            people.setdefault(person.name, []).append(face)
    return people


def character_of(name: str, faces: Sequence[Face], pipeline: Pipeline) -> Character:
    references = tuple(ReferenceFace(f"references/{i}.png", 1.0, f) for i, f in enumerate(faces))
    return Character(Profile(name=name, slug="person"), None, pipeline, references, ())


def rivals_of(drawn: dict[str, list[Face]], name: str) -> list[Rival]:
    return [
        Rival(other, identity_of([ReferenceFace("x", 1.0, f) for f in faces]).vector, tuple(f.embedding for f in faces))
        for other, faces in drawn.items()
        if other != name
    ]


def measure(people: dict[str, list[Face]], pipeline: Pipeline, count: int, draws: int, seed: int) -> dict[str, Counts]:
    rules = {"calibrated, alone": Counts(), "calibrated, with the others": Counts()}
    rules |= {f"fixed {t}": Counts() for t in FIXED}
    rng, thresholds, refused = np.random.default_rng(seed), [], 0
    for _ in range(draws):
        shuffled = {name: [faces[i] for i in rng.permutation(len(faces))] for name, faces in people.items()}
        drawn = {name: faces[:count] for name, faces in shuffled.items() if len(faces) > count}
        for name, references in drawn.items():
            character = character_of(name, references, pipeline)
            centroid = character.identity.vector
            own = [float(f.normed @ centroid) for f in shuffled[name][count:]]
            others = [float(f.normed @ centroid) for other, faces in people.items() if other != name for f in faces]
            for rule, rivals in (("alone", []), ("with the others", rivals_of(drawn, name))):
                try:
                    threshold = calibrate(character, rivals).threshold
                except FaceError:
                    refused += 1
                    continue
                thresholds.append(threshold)
                rules[f"calibrated, {rule}"].add(own, others, threshold)
            for fixed in FIXED:
                rules[f"fixed {fixed}"].add(own, others, fixed)
    print(f"{count} references: bands from {min(thresholds):.3f} to {max(thresholds):.3f}, refused {refused}")
    return rules


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", nargs="+", type=Path)
    parser.add_argument("--face-models", type=Path, required=True)
    parser.add_argument("--pack", default="auto")
    parser.add_argument("--references", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    analyser = OnnxAnalyser(find_pack(options.pack, [options.face_models]), "cpu")
    people = faces_of(options.people, analyser)
    print(f"{len(people)} people, {sum(map(len, people.values()))} faces, {analyser.pipeline.pack}")
    told = {}
    for count in options.references:
        rules = measure(people, analyser.pipeline, count, options.draws, options.seed)
        for rule, counts in rules.items():
            print(f"  {rule:28} {counts}")
        told[str(count)] = {rule: vars(c) for rule, c in rules.items()}
    if options.json:
        options.json.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
