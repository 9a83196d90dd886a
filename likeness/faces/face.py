"""What is known about one face in one picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..images import RGB8

EMBEDDING_DIM = 512
CROP_SIZE = 224  # px; the image encoder's input, and twice the recogniser's 112 px template

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """Head pose from the five keypoints."""

    yaw: float  # (nose - eye midpoint) on the eye axis / eye distance; 0 frontal, |.41| three-quarter, |.57|+ profile
    pitch: float  # nose height between eyes (0) and mouth (1); .5-.6 level, lower looks up
    roll: float  # degrees, -180..180; 0 upright, positive clockwise in the picture


@dataclass(frozen=True)
class Quality:
    """Measures that tell whether an embedding can be trusted."""

    width: float  # px in the picture as given
    sharpness: float  # variance of the Laplacian of the 112 px grey crop; < 60 blurred, >= 150 good
    brightness: float  # mean grey of the 112 px crop, 0..255
    clipped: float  # share of the box outside the picture, 0..1
    # Cosine to the embedding of the same crop with its lower half blanked; None where nobody looked. Bare faces of
    # photos .20 to .73; near 1 the lower half held nothing to lose, near 0 the upper half nothing to keep.
    lower: float | None = None


@dataclass(frozen=True)
class Face:
    """One detection. Coordinates are in the picture as given, whatever the ladder turned or padded."""

    box: Vector  # float32 [4]: left, top, right, bottom; px; zeros where no picture is known
    keypoints: Vector = field(
        repr=False
    )  # float32 [5, 2]: eyes, nose, mouth corners, the left one of an upright picture first; px
    score: float  # detector, 0..1
    # ComfyUI prints inputs into its history when a node fails: what identifies a person is not in the text.
    embedding: Vector = field(repr=False)  # float32 [512], raw, as the recogniser gives it
    # uint8 [224, 224, 3] RGB, aligned, for the image encoder; None for an embedding that came without a picture
    crop: RGB8 | None = field(repr=False)
    pose: Pose
    quality: Quality
    rung: str  # step of the failure ladder that found it, e.g. "640", "256+pad50", "640+turn90+level"

    @property
    def normed(self) -> Vector:
        """float32 [512], L2 norm 1."""
        return normalise(self.embedding)

    @property
    def area(self) -> float:
        left, top, right, bottom = (float(v) for v in self.box)
        return max(right - left, 0.0) * max(bottom - top, 0.0)

    @property
    def bare(self) -> Face:
        """Without its picture, where only vectors may be kept."""
        return replace(self, crop=None)


def normalise(vector: Vector) -> Vector:
    """`vector / ||vector||` in float64, as float32; a zero vector stays zero."""
    v = np.asarray(vector, dtype=np.float64)
    norm = float(np.linalg.norm(v))
    return (v / norm if norm > 0 else v).astype(np.float32)


def cosine(a: Vector, b: Vector) -> float:
    """Similarity of two embeddings, raw or normed, -1..1."""
    return float(np.dot(normalise(a).astype(np.float64), normalise(b).astype(np.float64)))


@dataclass(frozen=True)
class Pipeline:
    """Everything that decides an embedding's value. Embeddings of different pipelines are never compared
    unless their recogniser is the same file."""

    pack: str  # model pack's folder name, e.g. "buffalo_l"
    detector: str  # sha256 of the detector file
    recogniser: str  # sha256 of the recogniser file
    dim: int = EMBEDDING_DIM
    backend: str = "likeness"  # or "insightface"
    det_sizes: tuple[int, ...] = (640, 256)  # px
    det_threshold: float = 0.5
    ladder: int = 1  # version of the failure ladder
    align: str = "arcface112+crop224"

    def key(self) -> str:
        """sha256 of all fields, hex."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Analyser(Protocol):
    """Finds the faces of a picture and embeds them."""

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def providers(self) -> tuple[str, ...]:
        """Where the models really run, best first; () while no model was opened."""
        ...

    def analyse(self, image: RGB8) -> tuple[Face, ...]:
        """All faces, largest first, ties by left edge; () when there is none."""
        ...


def describe_engine(analyser: Analyser) -> str:
    """For reports: "buffalo_l on CPUExecutionProvider", or that every answer came from the cache."""
    return f"{analyser.pipeline.pack} " + (f"on {analyser.providers[0]}" if analyser.providers else "from cache")


def place(face: Face) -> str:
    """Where the middle of the box is, for people: "x 120, y 80"."""
    left, top, right, bottom = (float(v) for v in face.box)
    return f"x {(left + right) / 2:.0f}, y {(top + bottom) / 2:.0f}"


def same_face(face: Face, others: Iterable[Face]) -> Face | None:
    """Of another encoder's faces the one at the same place: boxes that overlap by half of their union."""
    best = max(others, key=lambda o: _overlap(face.box, o.box), default=None)
    return best if best is not None and _overlap(face.box, best.box) >= 0.5 else None


def _overlap(a: Vector, b: Vector) -> float:
    """Intersection over union of two boxes, 0..1."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


def ordered(faces: Iterable[Face]) -> tuple[Face, ...]:
    """Largest first; equal areas by left edge, then top edge, so that the order never depends on luck."""
    return tuple(sorted(faces, key=lambda f: (-f.area, float(f.box[0]), float(f.box[1]))))


def choose(faces: Iterable[Face], identity: Vector | None = None) -> Face | None:
    """The intended face: the most similar to `identity` where one is known, else the largest."""
    candidates = ordered(faces)
    if not candidates:
        return None
    if identity is None:
        return candidates[0]
    return max(candidates, key=lambda f: cosine(f.embedding, identity))
