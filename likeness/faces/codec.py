"""Faces as safetensors bytes: the one format of the cache and of a character's folder.

Raw embeddings are stored, normed ones derived. The metadata names the pipeline that made them and
holds a checksum of everything else, because a safetensors file has none of its own. Tensors, for N faces:

    boxes [N,4] f32   keypoints [N,5,2] f32   scores [N] f32   embeddings [N,D] f32
    pose [N,3] f32    quality [N,4] f32       crops [N,224,224,3] u8, absent where not all are kept
    lower [N] f32     of `Quality`, NaN where unknown; absent where it is unknown for all
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .face import CROP_SIZE, Face, Pipeline, Pose, Quality

FORMAT = "likeness-faces-1"
KEY = "likeness"  # of the metadata
MAX_BYTES = 128 * 1024 * 1024
MAX_HEADER = 4 * 1024 * 1024

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Packed:
    """Faces with a name each (a reference's file, or a position in the picture)."""

    named: tuple[tuple[str, Face], ...]
    pipeline: Pipeline
    extra: dict[str, str] = field(default_factory=dict)  # the writer's own notes


def encode_faces(named: Sequence[tuple[str, Face]], pipeline: Pipeline, extra: dict[str, str] | None = None) -> bytes:
    """The faces as bytes; `decode_faces` gives them back bit for bit."""
    faces = [face for _, face in named]
    arrays = {
        "boxes": _stack([f.box for f in faces], (4,)),
        "keypoints": _stack([f.keypoints for f in faces], (5, 2)),
        "scores": _stack([np.float32(f.score) for f in faces], ()),
        "embeddings": _stack([f.embedding for f in faces], (pipeline.dim,)),
        "pose": _stack([np.array(astuple(f.pose)) for f in faces], (3,)),
        "quality": _stack([np.array(astuple(f.quality)[:4]) for f in faces], (4,)),
    }
    if all(f.crop is not None for f in faces):
        arrays["crops"] = _stack([f.crop for f in faces], (CROP_SIZE, CROP_SIZE, 3), np.uint8)
    if any(f.quality.lower is not None for f in faces):
        arrays["lower"] = _stack([np.nan if f.quality.lower is None else f.quality.lower for f in faces], ())
    about = {
        "format": FORMAT,
        "pipeline": json.dumps(asdict(pipeline), sort_keys=True),
        "names": json.dumps([name for name, _ in named]),
        "rungs": json.dumps([face.rung for face in faces]),
        "extra": json.dumps(extra or {}, sort_keys=True),
    }
    # One entry only: safetensors writes several in no fixed order, and equal faces should give equal bytes.
    return save(arrays, {KEY: json.dumps({**about, "sha256": checksum_of(arrays, about)}, sort_keys=True)})


def _stack(rows: Sequence[Any], shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    return np.ascontiguousarray(np.asarray(rows, dtype=dtype).reshape(len(rows), *shape))


def checksum_of(arrays: Arrays, about: Mapping[str, str]) -> str:
    """sha256, hex, of tensors (names, dtypes, shapes, numbers) and the texts about them."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        h.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode() + arrays[name].tobytes())
    for name in sorted(about):
        h.update(name.encode() + b"\0" + about[name].encode() + b"\0")
    return h.hexdigest()


def without_crops(data: bytes) -> bytes | None:
    """What `encode_faces` wrote, without the pictures of faces; None for anything else."""
    packed = decode_faces(data)
    return packed and encode_faces([(name, face.bare) for name, face in packed.named], packed.pipeline, packed.extra)


def decode_faces(data: bytes) -> Packed | None:
    """What `encode_faces` wrote; None for anything else, however it was damaged or made up."""
    try:
        return _decode(data)
    except (
        SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        MemoryError,
    ):
        return None


def _decode(data: bytes) -> Packed | None:
    if not 8 < len(data) <= MAX_BYTES:
        return None
    about, arrays = _metadata(data), load(data)
    checksum = about.pop("sha256")
    if about["format"] != FORMAT or checksum != checksum_of(arrays, about):
        return None
    pipeline = _pipeline(json.loads(about["pipeline"]))
    names, rungs, extra = (json.loads(about[key]) for key in ("names", "rungs", "extra"))
    if not (_texts(names, list) and _texts(rungs, list) and _texts(extra, dict)) or len(rungs) != len(names):
        return None
    if not _sound(arrays, len(names), pipeline.dim):
        return None
    faces = [_face(arrays, i, rung) for i, rung in enumerate(rungs)]
    return Packed(tuple(zip(names, faces, strict=True)), pipeline, extra)


def _texts(values: Any, kind: type[list[Any]] | type[dict[str, Any]]) -> bool:
    """True for a list of texts, or a dict of texts, as `kind` says."""
    inner = values.values() if isinstance(values, dict) else values
    return isinstance(values, kind) and all(isinstance(v, str) for v in inner)


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise ValueError("header too long")
    about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    if not all(isinstance(v, str) for v in about.values()):
        raise ValueError("metadata of another kind")
    return dict(about)


def _pipeline(values: dict[str, Any]) -> Pipeline:
    known = {f.name for f in fields(Pipeline)}
    if set(values) != known:
        raise ValueError("another version's pipeline")
    pipeline = Pipeline(**{**values, "det_sizes": tuple(values["det_sizes"])})
    model = Pipeline("", "", "")
    if any(type(getattr(pipeline, name)) is not type(getattr(model, name)) for name in known):
        raise ValueError("a pipeline with values of the wrong kind")
    return pipeline


def _sound(arrays: Arrays, count: int, dim: int) -> bool:
    """Right keys, dtypes and shapes; every number finite; no embedding without a direction."""
    shapes = {
        "boxes": (count, 4),
        "keypoints": (count, 5, 2),
        "scores": (count,),
        "embeddings": (count, dim),
        "pose": (count, 3),
        "quality": (count, 4),
    }
    shapes |= {"crops": (count, CROP_SIZE, CROP_SIZE, 3)} if "crops" in arrays else {}
    shapes |= {"lower": (count,)} if "lower" in arrays else {}
    if {k: a.shape for k, a in arrays.items()} != shapes:
        return False
    if any(a.dtype != (np.uint8 if k == "crops" else np.float32) for k, a in arrays.items()):
        return False
    finite = all(np.isfinite(a).all() for k, a in arrays.items() if k not in ("crops", "lower"))
    if "lower" in arrays and not (np.isnan(arrays["lower"]) | (np.abs(arrays["lower"]) <= 1 + 1e-3)).all():
        return False
    return finite and bool((np.linalg.norm(arrays["embeddings"], axis=1) > 1e-6).all())


def _lower(arrays: Arrays, i: int) -> float | None:
    value = float(arrays["lower"][i]) if "lower" in arrays else float("nan")
    return None if value != value else value


def _face(arrays: Arrays, i: int, rung: str) -> Face:
    return Face(
        box=arrays["boxes"][i],
        keypoints=arrays["keypoints"][i],
        score=float(arrays["scores"][i]),
        embedding=arrays["embeddings"][i],
        crop=arrays["crops"][i] if "crops" in arrays else None,
        pose=Pose(*(float(v) for v in arrays["pose"][i])),
        quality=Quality(*(float(v) for v in arrays["quality"][i]), lower=_lower(arrays, i)),
        rung=str(rung),
    )
