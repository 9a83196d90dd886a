"""Drawn faces are told from photographed ones, under recognisers of three kinds."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likeness import images
from likeness.errors import ModelMissingError
from likeness.faces import drawn
from likeness.faces.analyser import OnnxAnalyser
from likeness.faces.arcface import ArcFace
from likeness.faces.drawn import MAX_LEAN, THRESHOLD, DrawnGate, anchor_of, gate_for, paint
from likeness.faces.drawn_faces import FACES_EACH, drawn_faces
from likeness.faces.face import Face, Pipeline, Vector, cosine
from likeness.faces.onnx_graph import model_file
from likeness.faces.runtime import open_session
from likeness.measurable import Limits, why_not_measurable

from ..fakes import PIPELINE, direction, make_face

RECOGNISERS = {
    "512 numbers": "insightface/models/buffalo_sc_dq/w600k_mbf_dq.onnx",
    "128 numbers": "insightface/models/mbf128/MobileFaceNet_foamliu.onnx",
    "another space": "edgeface_xxs_q_f32.onnx",
}
ACCEPTED = 0.30  # cosine from which such recognisers call two photos one person


def reduced(crop: images.RGB8) -> images.RGB8:
    return np.rint(crop.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


class Aligned:
    """A recogniser on faces that are aligned already."""

    def __init__(self, path: Path) -> None:
        self._model = ArcFace(open_session(path, "cpu"), model_file(path).graph, path.name)
        self.embed_calls = 0

    @property
    def pipeline(self) -> Pipeline:
        return PIPELINE

    def embed_aligned(self, crops: Sequence[images.RGB8]) -> Vector:
        self.embed_calls += 1
        return self._model.embed(np.stack(crops))

    def see(self, face: Face) -> Face:
        """The same face under this recogniser."""
        assert face.crop is not None
        return replace(face, embedding=self._model.embed(reduced(face.crop)[None])[0])


@pytest.fixture(scope="module", params=RECOGNISERS.values(), ids=RECOGNISERS)
def recogniser(request: pytest.FixtureRequest, model_root: Path) -> Aligned:
    return Aligned(model_root.parent / request.param)


@pytest.fixture(scope="module")
def gate(recogniser: Aligned) -> DrawnGate:
    return DrawnGate(lambda: anchor_of(recogniser.embed_aligned))


@pytest.fixture(scope="module")
def seen(recogniser: Aligned, analysed: dict[str, tuple[Face, ...]]) -> dict[str, list[Face]]:
    """Every drawn face, and every photo's that can be measured, under the recogniser, by picture."""

    def counts(name: str, face: Face) -> bool:
        return name.startswith("anime_") or not why_not_measurable(face, Limits())

    return {name: [recogniser.see(f) for f in faces if counts(name, f)] for name, faces in analysed.items()}


def sprites(seen: dict[str, list[Face]], who: str = "") -> list[Face]:
    return [f for name, faces in seen.items() if name.startswith(f"anime_{who}") for f in faces]


def photos(seen: dict[str, list[Face]]) -> dict[str, list[Face]]:
    return {name: faces for name, faces in seen.items() if not name.startswith("anime_")}


def test_every_sprite_counts_as_drawn_once_its_references_do(gate: DrawnGate, seen: dict[str, list[Face]]) -> None:
    for who in ("eileen", "lucy", "sylvie"):
        faces = sprites(seen, who)
        assert faces
        for face in faces:
            others = [f for f in faces if f is not face] or faces
            assert gate.for_references(others).drawn(face), who
        assert gate.for_references(faces).references_drawn


def test_sprites_count_as_drawn_without_references_but_for_one(gate: DrawnGate, seen: dict[str, list[Face]]) -> None:
    faces = sprites(seen)
    assert sum(gate.drawn(face) for face in faces) >= len(faces) - 1


def test_photos_do_not_count_as_drawn(gate: DrawnGate, seen: dict[str, list[Face]]) -> None:
    flagged = [name for name, faces in photos(seen).items() for face in faces if gate.drawn(face)]
    assert sum(len(faces) for faces in photos(seen).values()) > 45
    assert len(flagged) <= 2  # of the recogniser with 128 numbers


def test_a_rendered_face_that_the_recogniser_can_tell_is_no_drawn_one(
    gate: DrawnGate, seen: dict[str, list[Face]]
) -> None:
    rendered = [face for name, faces in seen.items() if name.startswith("cgi_ai/") for face in faces]
    assert len(rendered) == 3
    assert not any(gate.for_references(rendered).drawn(face) for face in rendered)
    assert not gate.for_references(rendered).references_drawn


def test_two_drawn_characters_that_pass_for_one_person_never_do_so_unflagged(
    gate: DrawnGate, seen: dict[str, list[Face]]
) -> None:
    by_character = {who: sprites(seen, who) for who in ("eileen", "lucy", "sylvie")}
    accepted = 0
    for who, references in by_character.items():
        for other in (f for name, faces in by_character.items() if name != who for f in faces):
            if max(cosine(other.embedding, r.embedding) for r in references) >= ACCEPTED:
                accepted += 1
                assert gate.for_references(references).drawn(other)
    assert accepted > 0  # the recogniser alone does call them one person


@pytest.mark.parametrize("change", ["grey", "small", "soft"])
def test_a_photo_that_lost_something_stays_a_photo(
    gate: DrawnGate, recogniser: Aligned, seen: dict[str, list[Face]], change: str
) -> None:
    people = [f for name, faces in seen.items() if name.startswith(("obama/", "person_", "biden/")) for f in faces]
    changed = [recogniser.see(replace(face, crop=spoilt(face.crop, change))) for face in people]
    assert sum(gate.drawn(face) for face in changed) <= 1


def spoilt(crop: images.RGB8 | None, change: str) -> images.RGB8:
    from PIL import Image, ImageFilter

    assert crop is not None
    picture = Image.fromarray(crop)
    if change == "grey":
        picture = picture.convert("L").convert("RGB")
    elif change == "small":
        picture = picture.resize((80, 80), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BILINEAR)
    else:
        picture = picture.filter(ImageFilter.GaussianBlur(1.5))
    return np.asarray(picture)


def test_the_drawn_faces_are_the_same_every_time() -> None:
    first, second = (list(drawn_faces()) for _ in range(2))
    assert [name for name, _ in first] == [n for n in ("anime", "comic", "doll") for _ in range(FACES_EACH)]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))
    assert {(crop.shape, crop.dtype.str) for _, crop in first} == {((112, 112, 3), "|u1")}
    assert len({crop.tobytes() for _, crop in first}) == len(first)


def test_nothing_is_said_of_a_face_without_a_crop() -> None:
    face = replace(make_face(1), crop=None)
    assert math.isnan(DrawnGate().drawnness(face)) and not DrawnGate().drawn(face)
    assert DrawnGate(references=[face]).lean == 0.0


def test_a_flat_drawing_has_higher_odds_than_grainy_shading() -> None:
    shading = np.full((224, 224, 3), 40.0) + np.linspace(0, 120, 224)[:, None, None]
    grainy = shading + np.random.default_rng(0).normal(0, 8, (224, 224, 1))
    drawings = [np.repeat(np.repeat(crop, 2, axis=0), 2, axis=1) for _, crop in drawn_faces()]
    gate = DrawnGate()
    odds = [gate.drawnness(replace(make_face(1), crop=crop)) for crop in drawings]
    assert min(odds) > 0 and sum(o > THRESHOLD for o in odds) >= 8
    assert gate.drawnness(replace(make_face(1), crop=grainy.astype(np.uint8))) < 0


def test_paint_is_what_it_says() -> None:
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[:, 112:] = 100  # one edge: 1 of the 111 steps across
    crop[88:124, 56:112, 0] = 60  # the left half of the eyes is red
    cheeks, steep, flat, eyes = paint(crop)
    assert cheeks == pytest.approx(math.log(0.5))
    assert steep == drawn.STEEP_MOST
    assert flat == pytest.approx(1 - (111 + 28 + 28 + 18) / 111**2, abs=0.01)
    assert eyes == pytest.approx((30 + 15) / 2, rel=0.01)


def test_near_the_drawn_faces_the_odds_rise() -> None:
    anchor = direction(7)
    gate, far = DrawnGate(lambda: anchor), replace(make_face(1), embedding=-anchor)
    near = replace(make_face(1), embedding=3 * anchor)
    assert gate.drawnness(near) - gate.drawnness(far) == pytest.approx(2 * drawn.CROWDING, rel=1e-4)


def test_a_face_of_another_recogniser_is_told_by_paint_alone() -> None:
    face = make_face(1)
    assert DrawnGate(lambda: np.ones(8, np.float32)).drawnness(face) == DrawnGate().drawnness(face)


def test_references_lean_towards_drawn_but_never_towards_photo() -> None:
    anchor = direction(7)
    gate = DrawnGate(lambda: anchor)
    like, unlike = replace(make_face(1), embedding=anchor), replace(make_face(1), embedding=-anchor)
    assert gate.lean == 0.0
    assert gate.for_references([like]).lean == MAX_LEAN
    assert gate.for_references([unlike]).lean == 0.0


class FakeRecogniser:
    """`fails`: it cannot be opened."""

    def __init__(self, dim: int = 512, fails: bool = False) -> None:
        self.pipeline = replace(PIPELINE, recogniser="f" * 64, dim=dim)
        self.calls, self._fails = 0, fails

    def embed_aligned(self, crops: Sequence[images.RGB8]) -> Vector:
        self.calls += 1
        if self._fails:
            raise ModelMissingError("The recogniser is gone.")
        return np.stack([direction(9, i) for i in range(len(crops))])[:, : self.pipeline.dim]


@pytest.fixture(autouse=True)
def no_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "_anchors", {})


def test_a_recogniser_is_asked_once_and_then_its_answer_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later, face = FakeRecogniser(), FakeRecogniser(), make_face(1)
    gate = gate_for(first, tmp_path)
    assert first.calls == 0  # nothing is opened before the first face
    odds = gate.drawnness(face)
    gate.drawnness(face)
    gate_for(later, tmp_path).drawnness(face)
    monkeypatch.setattr(drawn, "_anchors", {})
    assert gate_for(later, tmp_path).drawnness(face) == odds
    assert (first.calls, later.calls) == (1, 0)


@pytest.mark.parametrize("damage", [b"", b"\0" * 100])
def test_a_damaged_answer_on_disk_is_made_again(tmp_path: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    odds = gate_for(FakeRecogniser(), tmp_path).drawnness(make_face(1))
    (kept,) = tmp_path.glob("drawn-*.safetensors")
    kept.write_bytes(damage)
    monkeypatch.setattr(drawn, "_anchors", {})
    again = FakeRecogniser()
    assert gate_for(again, tmp_path).drawnness(make_face(1)) == odds
    assert again.calls == 1


def test_an_answer_of_another_width_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate_for(FakeRecogniser(), tmp_path).drawnness(make_face(1))
    monkeypatch.setattr(drawn, "_anchors", {})
    narrow = FakeRecogniser(dim=128)
    gate_for(narrow, tmp_path).drawnness(make_face(1))
    assert narrow.calls == 1


def test_where_the_recogniser_cannot_be_opened_paint_alone_decides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        odds = gate_for(FakeRecogniser(fails=True)).drawnness(make_face(1))
    assert odds == DrawnGate().drawnness(make_face(1)) == gate_for(object()).drawnness(make_face(1))
    assert "The recogniser is gone." in caplog.text


def test_the_shipped_analyser_gives_what_a_gate_needs(
    analyser: OnnxAnalyser, analysed: dict[str, tuple[Face, ...]]
) -> None:
    if not hasattr(analyser, "embed_aligned"):
        pytest.skip("the analyser embeds no aligned faces yet")
    (face,) = analysed["anime_sylvie/sylvie_blue_normal.png"][:1]
    assert gate_for(analyser).drawnness(face) > THRESHOLD
    assert gate_for(analyser).drawnness(face) != DrawnGate().drawnness(face)
