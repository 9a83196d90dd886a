"""Folders of drawn pictures, a judge of them, and finished reports, for the tests of reports."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from likeness import images
from likeness.character import Character
from likeness.faces.face import Face
from likeness.identity import ReferenceFace
from likeness.profile import Profile, Reference
from likeness.report.document import Report, about, build
from likeness.report.groups import parse_groupings
from likeness.report.measure import Measured, Measures
from likeness.report.rows import Row
from likeness.scoring import Judge, judge_for

from ..fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture, make_face

ADA, BEN = 1, 2  # persons


class NeverDrawn:
    """A gate for photos only."""

    references_drawn = False

    def drawn(self, face: Face) -> bool:
        return False

    def for_references(self, references: Sequence[Face]) -> NeverDrawn:
        return self


def ada(*shots: int) -> Character:
    files = [f"references/{i}.png" for i in range(len(shots))]
    profile = Profile(name="Ada", slug="ada", references=tuple(Reference(file=f) for f in files))
    faces = tuple(ReferenceFace(f, 1.0, make_face(ADA, shot)) for f, shot in zip(files, shots, strict=True))
    return Character(profile, None, replace(PIPELINE, recogniser=FakeAnalyser().pipeline.recogniser), faces, ())


def judge(threshold: float = 0.4) -> Judge:
    return judge_for(ada(0, 1, 2), FakeAnalyser(), threshold=threshold, gate=NeverDrawn())


def measures(analyser: FakeAnalyser | None = None, threshold: float = 0.4) -> Measures:
    return Measures(analyser or FakeAnalyser(), judge(threshold))


def save(path: Path, person: int | None, shot: int = 9) -> Path:
    """One picture of a person, or of nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode_png(empty_picture(shot) if person is None else face_picture(person, shot)))
    return path


def with_text(png: bytes, text: bytes, key: bytes = b"prompt", kind: bytes = b"tEXt") -> bytes:
    """A PNG file with a text chunk before its pixels, as ComfyUI writes it."""
    data = key + b"\0" + text
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def graph(lora: str = "ada-000004.safetensors", strength: float = 0.8, seed: int = 7) -> bytes:
    """The graph in API form of a picture."""
    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": lora, "strength_model": strength, "model": ["1", 0]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ["6", 0], "clip": ["2", 1]}},
        "4": {"class_type": "KSampler", "inputs": {"seed": seed, "positive": ["3", 0], "model": ["5", 0]}},
        "5": {
            "class_type": "LikenessApplyCharacter",
            "inputs": {"strengths": "custom", "strengths.faceid_weight": 0.5},
        },
        "6": {"class_type": "LikenessCharacterPrompt", "inputs": {"text": "in a park", "character": ["7", 0]}},
    }
    return json.dumps(nodes).encode()


def row(name: str = "a.png", similarity: float | None = 0.6, **values: object) -> Row:
    verdict = "not measurable" if similarity is None else "accepted" if similarity >= 0.4 else "rejected"
    reason = {"accepted": "", "rejected": "similarity 0.1 is below 0.4 (set by hand)"}.get(verdict, "the face is small")
    return Row(name, verdict, reason, 1, similarity, **{"yaw": 0.0, **values})  # type: ignore[arg-type]


def report_of(measured: Measured, *groupings: str, **options: object) -> Report:
    told = about(judge(), FakeAnalyser(), title="Test", source="pictures", made="2026-01-01T00:00:00+00:00")
    return build(told, measured, parse_groupings(groupings), **options)  # type: ignore[arg-type]
