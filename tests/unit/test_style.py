"""Style and background: the frame without its faces against the mean of a style's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.character import Character, open_character
from likeness.errors import FaceError, ModelMissingError
from likeness.faces.face import Face
from likeness.images import RGB8, encode_png
from likeness.library import Library
from likeness.style import (
    CLIP_MEAN,
    CLIP_STD,
    STYLE_GOOD,
    OnnxImageEmbedder,
    background,
    style_of,
    style_of_character,
    style_of_folder,
    without_faces,
)

from ..fakes import FakeAnalyser, make_face
from ..onnx_graphs import channel_means, graph, node
from .test_looks import BLUE, GREEN, RED, MeanColour, Overflowing, plain


def face_at(left: float, top: float, right: float, bottom: float) -> Face:
    return replace(make_face(1), box=np.array([left, top, right, bottom], np.float32))


def test_what_lies_in_a_face_box_has_no_influence() -> None:
    a, face = np.random.default_rng(0).integers(0, 256, (80, 60, 3)).astype(np.uint8), face_at(20, 20, 40, 50)
    b = a.copy()
    b[10:60, 15:45] = 7  # within the box and half of its sides around it: rows 5 to 65, columns 10 to 50
    np.testing.assert_array_equal(without_faces(a, [face]), without_faces(b, [face]))


def test_a_face_becomes_the_mean_colour_of_the_rest_and_the_rest_stays() -> None:
    picture = plain(BLUE, 80)
    picture[20:40, 20:40] = 255
    filled = without_faces(picture, [face_at(20, 20, 40, 40)])
    assert (filled == plain(BLUE, 80)).all()
    assert (picture[25, 25] == 255).all()  # the picture itself is untouched


def test_several_faces_and_faces_at_the_border_are_hidden() -> None:
    filled = without_faces(plain(RED, 60), [face_at(-5, -5, 10, 10), face_at(50, 50, 70, 70)])
    assert filled.shape == (60, 60, 3)
    assert (without_faces(plain(RED, 60), [face_at(0, 0, 60, 60)]) == 128).all()


def test_without_a_face_the_picture_is_taken_as_it_is() -> None:
    picture = plain(RED)
    assert without_faces(picture, []) is picture


def style(*pictures: RGB8) -> Any:
    return style_of("red", MeanColour(), [lambda p=p: (p, ()) for p in pictures])


def test_a_match_is_the_cosine_to_the_mean_of_the_normed_vectors() -> None:
    match = style(plain(RED), plain((255, 0, 60)))
    vectors = np.array([[122, -108, -108], [127, -128, -68]], dtype=float)
    centroid = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).sum(axis=0)
    probe = np.array(GREEN, dtype=float) - 128
    expected = probe @ centroid / np.linalg.norm(probe) / np.linalg.norm(centroid)
    assert match.match(plain(GREEN), []) == pytest.approx(expected, abs=1e-6)
    assert match.match(plain(RED), []) > STYLE_GOOD > match.match(plain(GREEN), [])
    assert (match.name, match.pictures) == ("red", 2)


def test_many_frames_give_what_each_gives_alone() -> None:
    match, frames = style(plain(RED)), [(plain(c), [face_at(5, 5, 20, 20)]) for c in (RED, GREEN, BLUE)]
    assert match.match_many(frames) == [match.match(p, f) for p, f in frames]


def test_the_same_face_on_another_background_does_not_raise_the_match() -> None:
    face = face_at(20, 20, 60, 60)
    reference, elsewhere = plain(RED), plain(GREEN)
    reference[20:60, 20:60] = elsewhere[20:60, 20:60] = (240, 230, 20)
    match = style_of("red", MeanColour(), [lambda: (reference, [face])])
    bare = style_of("red", MeanColour(), [lambda: (plain(RED), [])])
    assert match.match(elsewhere, [face]) == pytest.approx(bare.match(plain(GREEN), []), abs=1e-6)


def test_a_broken_picture_is_left_out_with_a_note_and_none_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(plain(RED)))
    (tmp_path / "b.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    match = style_of_folder(tmp_path, MeanColour(), lambda picture: [])
    assert (match.name, match.pictures) == (tmp_path.name, 1)
    assert len(match.notes) == 1 and "b.png" in match.notes[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(FaceError, match=r"no picture that shows the style .*b\.png"):
        style_of_folder(tmp_path, MeanColour(), lambda picture: [])
    with pytest.raises(FaceError, match="no picture that shows the style 'gone'"):
        style_of_folder(tmp_path / "gone", MeanColour(), lambda picture: [])


def test_a_picture_without_numbers_has_no_match_and_does_not_count_in_a_style() -> None:
    match = style_of("red", Overflowing(), [lambda c=c: (plain(c), ()) for c in (BLUE, RED, BLUE)])
    assert match.match_many([(plain(BLUE), []), (plain(RED), [])]) == [None, pytest.approx(1, abs=1e-6)]
    assert match.match(plain(BLUE), []) is None
    (note,) = match.notes
    assert match.pictures == 1 and "half gave no finite numbers" in note
    with pytest.raises(FaceError, match="no finite numbers"):
        style_of("blue", Overflowing(), [lambda: (plain(BLUE), ())])


def test_the_faces_of_a_folders_pictures_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(plain(RED)))
    seen: list[tuple[int, ...]] = []

    def find(picture: RGB8) -> Sequence[Face]:
        seen.append(picture.shape)
        return []

    style_of_folder(tmp_path, MeanColour(), find)
    assert seen == [(90, 90, 3)]


def test_a_close_up_has_no_background_to_compare() -> None:
    picture, close, wide = plain(RED, 100), face_at(3, 3, 97, 97), face_at(30, 30, 70, 70)
    assert background(picture, [close]) is None and background(picture, [wide]) is not None
    assert background(picture, [face_at(22, 22, 68, 68)]) is not None, "its grown box covers 83 % of the picture"
    assert background(picture, [face_at(22, 22, 69, 69)]) is None, "and this one 87 %"
    assert background(picture, []) is picture


def test_a_close_up_matches_nothing_and_the_frames_beside_it_keep_their_matches() -> None:
    encoder = MeanColour()
    match = style_of("red", encoder, [lambda: (plain(RED), ())])
    seen = len(encoder.shown)
    close, bare = (plain(GREEN, 100), [face_at(3, 3, 97, 97)]), (plain(RED, 100), [])
    assert match.match(*close) is None and len(encoder.shown) == seen, "the encoder is not asked"
    assert match.match_many([close, bare, close]) == [None, pytest.approx(1, abs=1e-6), None]


def test_close_ups_do_not_count_in_a_style() -> None:
    close = (plain(GREEN, 100), [face_at(3, 3, 97, 97)])
    match = style_of("red", MeanColour(), [lambda: close, lambda: (plain(RED), ())])
    assert match.pictures == 1 and match.match(plain(RED), []) == pytest.approx(1, abs=1e-6)
    (note,) = match.notes
    assert note.startswith("1 picture of the style has no background to compare")
    with pytest.raises(FaceError, match="2 pictures of the style have no background to compare"):
        style_of("green", MeanColour(), [lambda: close, lambda: close])


def from_afar(character: Character) -> Character:
    """The same with faces of 16 px in pictures of 64."""
    faces = [replace(r, face=replace(r.face, box=np.array([20, 20, 36, 36], np.float32))) for r in character.faces]
    return replace(character, faces=tuple(faces))


def test_a_characters_style_leaves_out_the_faces_that_are_stored(ada: Library, analyser: FakeAnalyser) -> None:
    encoder, character = MeanColour(), from_afar(open_character(ada, "ada"))
    match = style_of_character(character, encoder)
    assert match.pictures == 3
    assert all((p[20, 20] == p[40, 40]).all() for p in encoder.shown)  # inside the face, now one colour
    with pytest.raises(FaceError, match="came without pictures"):
        style_of_character(replace(character, folder=None), encoder)


def test_no_embedding_is_in_the_text_of_a_style() -> None:
    assert "array" not in repr(style(plain(RED)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = tmp_path / "vit.onnx"
    path.write_bytes(channel_means(32))
    return path


def test_an_onnx_encoder_sees_the_whole_picture_in_units_of_clips_spread(model: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)
    shown = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float64)
    expected = ((shown / 255 - CLIP_MEAN) / CLIP_STD).mean(axis=(0, 1))
    embedder = OnnxImageEmbedder(model, "cpu")
    assert embedder.name == "vit"
    np.testing.assert_allclose(embedder.embed([picture]), [expected], atol=1e-5)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_batches_of_any_length_go_through_models_of_any_batch(model: Path, batch: int | str) -> None:
    model.write_bytes(channel_means(32, batch=batch))
    embedder, pictures = OnnxImageEmbedder(model, "cpu"), [plain((i * 20, 9, 9)) for i in range(11)]
    together = embedder.embed(pictures)
    assert together.shape == (11, 3)
    for i in (0, 3, 7, 8, 10):
        np.testing.assert_allclose(together[i], embedder.embed([pictures[i]])[0], atol=1e-6)


def test_of_tokens_the_first_one_is_the_pictures_vector(model: Path) -> None:
    # [N, 3, 32, 32] reduced over its columns is a list of 3 tokens of 32 numbers
    tokens = graph(
        [node("ReduceMean", ["input"], "last_hidden_state", axes=[3], keepdims=0)],
        {"input": ("batch", 3, 32, 32)},
        {"last_hidden_state": ("batch", 3, 32)},
    )
    model.write_bytes(tokens)
    vectors = OnnxImageEmbedder(model, "cpu").embed([plain((255, 0, 0))])
    assert vectors.shape == (1, 32)
    np.testing.assert_allclose(vectors, (1 - CLIP_MEAN[0]) / CLIP_STD[0], atol=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        graph([], {"a": ("n", 3, 32, 32), "b": ("n", 4)}, {"output": ("n", 3)}),
        graph([], {"a": ("n", 3, 32, 48)}, {"output": ("n", 3)}),
        graph([], {"a": ("n", 1, 32, 32)}, {"output": ("n", 3)}),
        graph([], {"a": ("n", 3, 32, 32)}, {"output": ("n", 3, 8, 8)}),
    ],
    ids=["empty", "two inputs", "no square", "one channel", "maps"],
)
def test_what_is_no_image_encoder_is_refused_by_name(model: Path, content: bytes) -> None:
    model.write_bytes(content)
    with pytest.raises(ModelMissingError, match=r"vit\.onnx is not"):
        OnnxImageEmbedder(model, "cpu")


def test_a_face_recogniser_is_refused_as_an_image_encoder(model: Path) -> None:
    model.write_bytes(channel_means(112))
    with pytest.raises(ModelMissingError, match=r"vit\.onnx is a face recogniser, since its input is 112 px wide"):
        OnnxImageEmbedder(model, "cpu")
