"""CCIP, a measure of whether two pictures show the same drawn character, run on its two published files.

    models/ccip/<model>/model_feat.onnx      picture -> features
    models/ccip/<model>/model_metrics.onnx   features -> differences between them
    models/ccip/<model>/metrics.json         its threshold (a known model does without)

From https://huggingface.co/deepghs/ccip_onnx (licence: openrail). Preprocessing as in imgutils/metrics/ccip.py
(deepghs/imgutils): the picture squeezed to 384 px, CLIP's mean and spread. The authors give, for the model
ccip-caformer-24-randaug-pruned, differences of .17 for one character and .39 to .44 for two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ModelMissingError, StorageError
from .faces.onnx_graph import model_file
from .faces.runtime import Session, open_session
from .files import read_limited
from .images import RGB8
from .style import CLIP_MEAN, CLIP_STD

FEATURES, METRICS, ABOUT = "model_feat.onnx", "model_metrics.onnx", "metrics.json"
SIZE = 384  # px
INPUT, OUTPUT = "input", "output"  # of both files
SOURCE = "https://huggingface.co/deepghs/ccip_onnx"
THRESHOLDS = {  # difference up to which two pictures show one character: metrics.json of each model, the best first
    "ccip-caformer_b36-24": 0.21323118981474148,
    "ccip-caformer-24-randaug-pruned": 0.17847511429108218,
    "ccip-v2-caformer_s36-10": 0.2077573707442962,
    "ccip-caformer-6-randaug-pruned_fp32": 0.1951224011983088,
    "ccip-caformer-5_fp32": 0.18397327797685215,
    "ccip-caformer_query-12": 0.14130825509050327,
}
_CHUNK = 8  # pictures in one pass
_MAX_ABOUT = 64 * 1024  # bytes

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CcipFiles:
    """One installed model."""

    name: str  # of its folder
    folder: Path

    def threshold(self) -> float:
        """ModelMissingError where neither metrics.json nor its name tells it."""
        path = self.folder / ABOUT
        if not path.is_file() and self.name in THRESHOLDS:
            return THRESHOLDS[self.name]
        try:
            value = json.loads(read_limited(path, _MAX_ABOUT))["threshold"]
        except (StorageError, ValueError, KeyError, TypeError, RecursionError):
            value = None
        if not isinstance(value, float) or not 0 < value < 10:
            raise ModelMissingError(
                f"The threshold of the CCIP model {self.name!r} is not known: put its {ABOUT} from {SOURCE} "
                f"into {self.folder}."
            )
        return value


def find_ccip(roots: Iterable[Path]) -> CcipFiles | None:
    """The best installed model below the `ccip` model folders; None when there is none."""
    found = [CcipFiles(f.name, f) for root in roots for f in (root, *_folders(root)) if _complete(f)]
    ranks = {name: rank for rank, name in enumerate(THRESHOLDS)}
    return min(found, key=lambda f: ranks.get(f.name, len(ranks)), default=None)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir())
    except OSError:
        return []


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (FEATURES, METRICS))


class Ccip:
    """The two models of a folder, opened with the first picture."""

    def __init__(self, files: CcipFiles, provider: str = "auto") -> None:
        """ModelMissingError where the threshold is not known."""
        self.name = files.name
        self.threshold = files.threshold()
        self._files, self._provider = files, provider
        self._sessions: dict[str, Session] = {}

    def features(self, pictures: Sequence[RGB8]) -> Floats:
        """float32 [N, D] of N pictures, one character in each."""
        parts = []
        for start in range(0, len(pictures), _CHUNK):
            pixels = np.stack([preprocess(p) for p in pictures[start : start + _CHUNK]])
            parts.append(self._run(FEATURES, pixels))
            if parts[-1].ndim != 2 or len(parts[-1]) != len(pixels):
                raise self._wrong(FEATURES, f"it gave {parts[-1].shape} for {len(pixels)} pictures")
        return np.concatenate(parts)

    def differences(self, features: Floats) -> Floats:
        """float32 [N, N] between features [N, D]; 0 is equal."""
        found = self._run(METRICS, np.ascontiguousarray(features, dtype=np.float32))
        if found.shape != (len(features), len(features)):
            raise self._wrong(METRICS, f"it gave {found.shape} for {len(features)} features")
        return found

    def _run(self, file: str, values: Floats) -> Floats:
        session = self._session(file)
        try:
            (found,) = session.run([OUTPUT], {INPUT: values})
        except Exception as error:  # onnxruntime's exceptions share no base class below Exception
            raise self._wrong(file, str(error).splitlines()[0]) from error
        return np.asarray(found, dtype=np.float32)

    def _session(self, file: str) -> Session:
        if file not in self._sessions:
            path = self._files.folder / file
            known = model_file(path)
            ports: Any = ([t.name for t in known.graph.inputs], [t.name for t in known.graph.outputs])
            if ports[0] != [INPUT] or OUTPUT not in ports[1]:
                raise self._wrong(file, f"its inputs are {ports[0]}, its outputs {ports[1]}")
            self._sessions[file] = open_session(path, self._provider, known.sha256)
        return self._sessions[file]

    def _wrong(self, file: str, why: str) -> ModelMissingError:
        return ModelMissingError(
            f"{self._files.folder / file} is not CCIP's ({why}): download {file} of {self.name} again from {SOURCE}."
        )


def preprocess(picture: RGB8, size: int = SIZE) -> Floats:
    """uint8 [H, W, 3] -> float32 [3, size, size], squeezed to a square by Pillow's bilinear filter."""
    small = Image.fromarray(picture).resize((size, size), resample=Image.Resampling.BILINEAR)
    planes = np.asarray(small).transpose(2, 0, 1).astype(np.float32) / np.float32(255.0)
    mean, std = (np.asarray(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return ((planes - mean) / std).astype(np.float32)
