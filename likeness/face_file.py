"""Files that hold a face as numbers: our own, those that ReActor saves, and plain embeddings.

All are safetensors. What is read here may come from anybody, and only our own files carry a checksum and the name of
their recogniser. Of any other, only the numbers can be judged; what is not known of it stays "" and a note says so.

    ours     `embedding` (raw) or `normed_embedding` [512] f32, and one metadata entry that says how it was made
    ReActor  `bbox` [4], `kps` [5,2], `det_score`, `landmark_3d_68` [68,3], `pose` [3], `landmark_2d_106` [106,2],
             `embedding` [512] raw, `gender`, `age` (reactor_utils.py, save_face_model)
    plain    one of `EMBEDDING_KEYS`, or a single tensor of any name, [512] or [N, 512], raw or normed
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from . import __version__
from .errors import FaceError
from .faces.codec import KEY, Arrays, checksum_of
from .faces.face import EMBEDDING_DIM, Pipeline, Vector
from .faces.packs import FACEID_RECOGNISER, KNOWN
from .files import read_limited
from .identity import NORMED
from .profile import MAX_REFERENCES

FORMAT = "likeness-embedding-1"
MAX_BYTES = 4 * 1024 * 1024  # 500 embeddings as float64 take 2 MB
MAX_HEADER = 64 * 1024
MAX_TENSORS = 64
RAW, NORM = "embedding", "normed_embedding"
EMBEDDING_KEYS = (RAW, "embeddings", "face_embedding", "face_embeddings", NORM, "normed_embeddings")
REACTOR_SHAPES: Mapping[str, tuple[int, ...]] = {
    "bbox": (4,),
    "kps": (5, 2),
    "det_score": (),
    "landmark_3d_68": (68, 3),
    "pose": (3,),
    "landmark_2d_106": (106, 2),
    RAW: (EMBEDDING_DIM,),
    "gender": (),
    "age": (),
}
# Lengths of raw ArcFace embeddings: 16 to 27 on 76 photos and drawings with w600k; a mean over several people, as
# ReActor's blended face models are, is shorter.
RAW_LENGTH = (4.0, 60.0)
OUR_RAW_LENGTH = (0.1, 1000.0)  # our files name their recogniser, which may be another kind
REACTOR_PACK = "buffalo_l"  # reactor_core/analyzer.py opens no other
_BROKEN = (SafetensorError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, MemoryError)
_FLOATS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
_DTYPES = {*_FLOATS, "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
_SHA256 = re.compile(r"[0-9a-f]{64}|")


@dataclass(frozen=True)
class FaceFile:
    """What a face file holds."""

    kind: str  # "likeness", "reactor" or "plain"
    vectors: Vector = field(repr=False)  # float32 [N, 512], as stored: all raw, or all of L2 norm 1
    normed: bool
    pack: str = ""  # face-model pack's name; "" unknown
    recogniser: str = ""  # sha256 of the recogniser's file; "" unknown
    detector: str = ""
    box: Vector | None = None  # float32 [4]: left, top, right, bottom; px of a picture that is not in the file
    keypoints: Vector | None = field(default=None, repr=False)  # float32 [5, 2]; px of the same
    score: float = 0.0  # detector, 0..1
    notes: tuple[str, ...] = ()  # what is not known of it, one sentence each


def read_face_file(path: Path) -> FaceFile:
    """StorageError for a file that cannot be read or is too large, FaceError for one that holds no usable face."""
    return decode_face_file(read_limited(path, MAX_BYTES), path.name)


def decode_face_file(data: bytes, name: str = "face file") -> FaceFile:
    """The face in a safetensors file's bytes; FaceError says what is wrong with it."""
    try:
        about, arrays = _open(data)
        return _ours(about, arrays) if about is not None else _foreign(arrays)
    except FaceError as error:
        raise FaceError(f"{name} is not a usable face file: {error}") from None
    except _BROKEN as error:
        raise FaceError(
            f"{name} is not a usable face file: it is damaged, or no safetensors file. Save it again."
        ) from error


def write_face(vector: Vector, normed: bool, pipeline: Pipeline) -> bytes:
    """Our own file: float32 [512] and how it was made; no name, no picture. Equal faces give equal bytes."""
    arrays: Arrays = {NORM if normed else RAW: np.ascontiguousarray(vector, dtype=np.float32)}
    return _with_origin(arrays, pipeline)


def write_reactor(vector: Vector, box: Vector, keypoints: Vector, score: float, pipeline: Pipeline) -> bytes:
    """A face model that ReActor loads: all nine tensors that its loader hands on, with the dtypes it saves itself.

    Its nodes read `embedding`, `bbox` (to sort faces) and, where a gender filter is set, `gender`. Build Blended Face
    Model and Set Weight copy the others and fail where one is missing. What we do not measure is written as what no
    face can have: landmarks and pose all 0, gender and age -1, which ReActor's filter logs as "Unknown" and leaves
    out. ReActor does not read metadata; ours says how the embedding was made.
    """
    arrays: Arrays = {
        key: np.zeros(shape, np.int64 if key in ("gender", "age") else np.float32)
        for key, shape in REACTOR_SHAPES.items()
    }
    arrays |= {"gender": np.array(-1, np.int64), "age": np.array(-1, np.int64)}
    known = {"bbox": box, "kps": keypoints, "det_score": score, RAW: vector}
    arrays |= {key: np.array(value, dtype=np.float32, order="C") for key, value in known.items()}
    return _with_origin(arrays, pipeline)


def _with_origin(arrays: Arrays, pipeline: Pipeline) -> bytes:
    about = {
        "format": FORMAT,
        "written_by": f"likeness {__version__}",
        "pack": pipeline.pack,
        "recogniser": pipeline.recogniser,
        "detector": pipeline.detector,
    }
    # One entry only: safetensors writes several in no fixed order.
    return save(arrays, {KEY: json.dumps({**about, "sha256": checksum_of(arrays, about)}, sort_keys=True)})


def _open(data: bytes) -> tuple[dict[str, str] | None, Arrays]:
    """Our metadata, where the file has it, and the tensors. The header is judged before a tensor is made."""
    length = int.from_bytes(data[:8], "little")
    if not 8 < len(data) <= MAX_BYTES or not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise ValueError("no header, or one that is too long")
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    texts = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise FaceError(f"it holds {len(header)} tensors, so it is some other model.")
    for key, tensor in header.items():
        if tensor["dtype"] not in _DTYPES:
            raise FaceError(f"its tensor {key[:40]!r} is of dtype {str(tensor['dtype'])[:10]}: save it as float32.")
    about = json.loads(texts[KEY], object_pairs_hook=_unique) if KEY in texts else None
    if KEY in texts and not (isinstance(about, dict) and all(isinstance(value, str) for value in about.values())):
        raise ValueError("metadata of another kind")
    return about, load(data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; readers disagree on which of two equal keys counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _ours(about: dict[str, str], arrays: Arrays) -> FaceFile:
    told = about.pop("sha256")
    if about["format"] != FORMAT:
        raise FaceError(f"it is of format {about['format'][:40]!r}; this version reads {FORMAT!r}. Update Likeness.")
    if told != checksum_of(arrays, about):
        raise FaceError("it was changed or damaged after Likeness wrote it (checksum). Export it again.")
    pack, recogniser, detector = about["pack"], about["recogniser"], about["detector"]
    if not (_SHA256.fullmatch(recogniser) and _SHA256.fullmatch(detector) and len(pack) <= 80 and pack.isprintable()):
        raise ValueError("metadata of another kind")
    origin = {"pack": pack, "recogniser": recogniser, "detector": detector}
    note = () if recogniser else (_unknown("It was exported from a file of unknown origin"),)
    if set(arrays) == set(REACTOR_SHAPES):
        vectors, normed = _one_length(arrays[RAW], RAW, OUR_RAW_LENGTH)
        return FaceFile("reactor", vectors, normed, **origin, **_place(arrays), notes=note)
    (key,) = arrays
    if key not in (RAW, NORM):
        raise ValueError("a tensor of another name")
    return FaceFile("likeness", *_one_length(arrays[key], key, OUR_RAW_LENGTH), **origin, notes=note)


def _foreign(arrays: Arrays) -> FaceFile:
    if RAW in arrays and len(arrays) >= 4 and set(arrays) <= set(REACTOR_SHAPES):
        vectors, normed = _one_length(arrays[RAW], RAW)
        (sha256,) = (sha for sha, model in KNOWN.items() if model.name == FACEID_RECOGNISER)
        note = (
            f"A ReActor face model does not name its recogniser; it was taken for {REACTOR_PACK}'s, ReActor's only one."
        )
        origin = {"pack": REACTOR_PACK, "recogniser": sha256}
        return FaceFile("reactor", vectors, normed, **origin, **_place(arrays), notes=(note,))
    key = next((k for k in EMBEDDING_KEYS if k in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if key is None:
        raise FaceError(f"it has no tensor `{RAW}`; it has {_some(sorted(arrays))}. It is some other kind of model.")
    return FaceFile("plain", *_one_length(arrays[key], key), notes=(_unknown("The file names no recogniser"),))


def _unknown(why: str) -> str:
    return (
        f"{why}, so it is unknown which faces this one can be compared or blended with; FaceID adapters need "
        f"{REACTOR_PACK}'s embeddings."
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:5])
    return (shown + (" and others" if len(names) > 5 else "")) or "none"


def _one_length(tensor: Any, key: str, raw: tuple[float, float] = RAW_LENGTH) -> tuple[Vector, bool]:
    """float32 [N, 512] and whether they are normed; FaceError for anything that no recogniser can have given."""
    shape = tensor.shape
    if tensor.dtype.name not in ("float16", "float32", "float64") or len(shape) not in (1, 2, 3):
        raise FaceError(
            f"its tensor {key[:40]!r} is {tensor.dtype.name} {list(shape)}, expected float [512] or [N, 512]."
        )
    if shape[-1] != EMBEDDING_DIM or not 0 < tensor.size <= MAX_REFERENCES * EMBEDDING_DIM:
        raise FaceError(
            f"its tensor {key[:40]!r} has shape {list(shape)}; a face embedding has {EMBEDDING_DIM} numbers, and a "
            f"file holds at most {MAX_REFERENCES} of them."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused
        vectors = np.array(tensor, dtype=np.float32).reshape(-1, EMBEDDING_DIM)
    if not np.isfinite(vectors).all():
        raise FaceError(f"its tensor {key[:40]!r} holds numbers that are not finite. Save it again where it came from.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if (np.abs(lengths - 1) <= NORMED).all():
        return vectors, True
    if not key.startswith("normed") and ((raw[0] <= lengths) & (lengths <= raw[1])).all():
        return vectors, False
    odd = float(lengths[np.argmax(np.abs(np.log(np.maximum(lengths, 1e-30) / 20)))])
    raise FaceError(
        f"an embedding in {key[:40]!r} has length {odd:.3g}: a normed one has 1, a raw one of ArcFace about 10 to 30. "
        "It is of another kind, or was averaged after it was normed."
    )


def _place(arrays: Arrays) -> dict[str, Any]:
    """Box, keypoints and score of a ReActor file, where they are right."""
    found: dict[str, Vector] = {}
    for key in ("bbox", "kps", "det_score"):
        if key in arrays:
            with np.errstate(over="ignore"):
                found[key] = np.asarray(arrays[key]).astype(np.float32)
            if found[key].shape != REACTOR_SHAPES[key] or not np.isfinite(found[key]).all():
                raise FaceError(f"its tensor {key!r} is not what ReActor saves, {list(REACTOR_SHAPES[key])} numbers.")
    return {"box": found.get("bbox"), "keypoints": found.get("kps"), "score": float(found.get("det_score", 0.0))}
