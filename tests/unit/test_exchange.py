"""Faces as files: ours, ReActor's and plain embeddings; and what is no face."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from likeness import face_file
from likeness.blend import blend
from likeness.character import Character, open_character, with_encoder
from likeness.errors import FaceError, LikenessError, PathError, StorageError
from likeness.exchange import character_of, load_face, save_face, write_face_embedding, write_reactor_model
from likeness.face_file import decode_face_file
from likeness.faces.face import Pipeline, cosine
from likeness.faces.packs import FACEID_RECOGNISER, KNOWN
from likeness.library import Library

from ..fakes import PIPELINE, FakeAnalyser, embedding, make_face

R50 = next(sha for sha, model in KNOWN.items() if model.name == FACEID_RECOGNISER)
MBF = next(sha for sha, model in KNOWN.items() if model.name == "w600k_mbf")


@pytest.fixture
def character(ada: Library) -> Character:
    return open_character(ada, "ada")


def by(character: Character, pack: str, recogniser: str) -> Character:
    assert character.pipeline is not None
    return replace(character, pipeline=replace(character.pipeline, pack=pack, recogniser=recogniser))


def reactor(**changes: Any) -> bytes:
    """What ReActor's save_face_model writes of a face that insightface found."""
    face = make_face(1)
    arrays: dict[str, Any] = {
        "bbox": face.box,
        "kps": face.keypoints,
        "det_score": np.array(0.9, np.float32),
        "landmark_3d_68": np.ones((68, 3), np.float64),
        "pose": np.ones(3, np.float32),
        "landmark_2d_106": np.ones((106, 2), np.float64),
        "embedding": face.embedding,
        "gender": np.array(1, np.int64),
        "age": np.array(30, np.int64),
    }
    return save({k: np.array(v, order="C") for k, v in (arrays | changes).items() if v is not None})


# ---- our own files


@pytest.mark.parametrize("normed", [False, True])
def test_a_face_comes_back_as_it_went(character: Character, normed: bool) -> None:
    back = character_of(decode_face_file(write_face_embedding(character, normed)), "Ada")
    assert cosine(back.identity.vector, character.identity.vector) == pytest.approx(1, abs=1e-7)
    np.testing.assert_allclose(back.identity.vector, character.identity.vector, atol=1e-7)
    assert back.pipeline is not None and character.pipeline is not None
    assert (back.pipeline.recogniser, back.pipeline.pack) == (character.pipeline.recogniser, "buffalo_l")
    assert (back.folder, back.has_crops, back.notes, back.problems) == (None, False, (), ())
    length = float(np.linalg.norm(back.faces[0].face.embedding))
    raw = np.mean([np.linalg.norm(f.face.embedding) for f in character.used])
    assert length == pytest.approx(1.0 if normed else float(raw), rel=1e-6)


def test_a_normed_embedding_that_goes_out_again_stays_normed(character: Character) -> None:
    normed = character_of(decode_face_file(write_face_embedding(character, normed=True)), "Ada")
    assert set(load(write_face_embedding(normed))) == {"normed_embedding"}


def test_equal_faces_give_equal_bytes_without_name_and_picture(character: Character) -> None:
    data = write_face_embedding(character)
    assert data == write_face_embedding(character) and len(data) < 3000
    entry = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["likeness"]
    assert not [private for private in ("ada", "references", "photo", "crop") if private in entry.lower()]
    told = json.loads(entry)
    assert set(told) == {"format", "written_by", "pack", "recogniser", "detector", "sha256"}
    assert [(k, v.dtype, v.shape) for k, v in load(data).items()] == [("embedding", np.float32, (512,))]


def test_a_blend_can_be_kept(ada: Library, character: Character) -> None:
    other = character_of(decode_face_file(save({"embedding": embedding(2, 0)})), "Bo")
    made = blend([(character, 1), (other, 1)])
    back = character_of(decode_face_file(write_face_embedding(made)), "Between")
    assert cosine(back.identity.vector, made.identity.vector) > 1 - 1e-7


def test_only_512_numbers_are_a_face_file(character: Character) -> None:
    short = tuple(replace(f, face=replace(f.face, embedding=f.face.embedding[:128])) for f in character.faces)
    with pytest.raises(FaceError, match="has 128 numbers; face files hold 512"):
        write_face_embedding(replace(character, faces=short))


# ---- ReActor


def test_a_reactor_face_model_becomes_a_character() -> None:
    made = character_of(decode_face_file(reactor(), "ada.safetensors"), "ada")
    assert made.pipeline is not None and made.pipeline.recogniser == R50 and made.profile.face_model == "buffalo_l"
    (face,) = (f.face for f in made.faces)
    assert (face.embedding == make_face(1).embedding).all() and (face.keypoints == make_face(1).keypoints).all()
    assert face.score == pytest.approx(0.9) and face.crop is None and face.quality.width == 32
    assert len(made.notes) == 1 and "does not name its recogniser" in made.notes[0]


@pytest.mark.parametrize("gone", [("pose",), ("landmark_3d_68", "landmark_2d_106", "pose"), ("bbox",)])
def test_a_reactor_model_that_lacks_some_tensors_is_read(gone: tuple[str, ...]) -> None:
    file = decode_face_file(reactor(**dict.fromkeys(gone)))
    assert file.kind == "reactor" and file.recogniser == R50
    assert (file.box is None) == ("bbox" in gone)


@pytest.mark.parametrize(
    "changes",
    [
        {"kps": np.zeros((4, 2), np.float32)},
        {"bbox": np.array([0, 0, np.nan, 1], np.float32)},
        {"det_score": np.zeros(2, np.float32)},
        {"kps": np.full((5, 2), 1e300)},
    ],
)
def test_a_reactor_model_with_wrong_numbers_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FaceError, match="is not what ReActor saves"):
        decode_face_file(reactor(**changes))


def reactors_own_loader(path: Path) -> dict[str, Any]:
    """As ReActor's load_face_model reads: every tensor by torch, then numpy."""
    pytest.importorskip("torch", reason="torch is not installed")
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).numpy() for key in file.keys()}


def test_reactor_reads_what_we_write(tmp_path: Path, character: Character) -> None:
    face = reactors_own_loader(save_face(tmp_path, "Ada", character, "reactor"))
    expected = load(reactor())
    assert set(face) == set(expected)
    assert {k: v.shape for k, v in face.items()} == {k: v.shape for k, v in expected.items()}
    assert {k for k, v in face.items() if v.dtype == np.int64} == {"gender", "age"}
    normed = face["embedding"] / np.linalg.norm(face["embedding"])  # what its swap models are given
    assert cosine(normed, character.identity.vector) > 1 - 1e-7
    assert (face["bbox"] == character.faces[0].face.box).all()
    assert (face["kps"] == character.faces[0].face.keypoints).all()
    assert face["det_score"] == np.float32(character.faces[0].face.score)
    assert not face["landmark_3d_68"].any() and not face["landmark_2d_106"].any() and not face["pose"].any()
    assert (int(face["gender"]), int(face["age"])) == (-1, -1)


def test_the_reference_with_the_largest_weight_lends_its_box(character: Character) -> None:
    heavy = (*character.faces[:2], replace(character.faces[2], weight=2.0, face=make_face(1, 2, (1, 2, 40))))
    face = load(write_reactor_model(replace(character, faces=heavy)))
    assert (face["bbox"] == heavy[2].face.box).all()


def test_our_reactor_model_comes_back_with_its_origin(character: Character) -> None:
    back = character_of(decode_face_file(write_reactor_model(character)), "Ada")
    assert back.pipeline is not None and character.pipeline is not None and back.notes == ()
    assert back.pipeline.recogniser == character.pipeline.recogniser
    assert cosine(back.identity.vector, character.identity.vector) > 1 - 1e-7


@pytest.mark.parametrize(
    ("pack", "recogniser", "fits"),
    [
        ("buffalo_l", R50, True),
        ("renamed", R50, True),
        ("buffalo_l", "e" * 64, True),
        ("", "", True),
        ("buffalo_l", MBF, False),
        ("buffalo_sc", MBF, False),
        ("auraface", "e" * 64, False),
    ],
)
def test_reactor_gets_buffalo_ls_embeddings_only(character: Character, pack: str, recogniser: str, fits: bool) -> None:
    other = by(character, pack, recogniser)
    if fits:
        assert write_reactor_model(other)
    else:
        with pytest.raises(FaceError, match=f"ReActor needs embeddings of buffalo_l; 'Ada' was made with {pack}"):
            write_reactor_model(other)


@pytest.fixture
def reactor_checkout(monkeypatch: pytest.MonkeyPatch) -> Path:
    root = os.environ.get("LIKENESS_REACTOR")
    if not root or not (Path(root) / "reactor_core" / "face_objects.py").is_file():
        pytest.skip("no ReActor: set LIKENESS_REACTOR to a checkout of it")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr(sys, "path", [str(Path(root) / "reactor_core"), *sys.path])
    return Path(root)


def test_reactors_own_face_class_takes_our_model(reactor_checkout: Path, tmp_path: Path, character: Character) -> None:
    from face_objects import Face  # type: ignore[import-not-found]

    face = Face(reactors_own_loader(save_face(tmp_path, "Ada", character, "reactor")))
    assert cosine(face.normed_embedding, character.identity.vector) > 1 - 1e-7
    for key in face_file.REACTOR_SHAPES:  # its blending nodes read all of them as attributes, its saver as items
        assert getattr(face, key) is not None and face[key] is not None


# ---- plain embeddings

RAW, TWO = embedding(1, 0), np.stack([embedding(1, 0), embedding(1, 1)])
UNIT = RAW / np.linalg.norm(RAW)


@pytest.mark.parametrize(
    ("arrays", "count", "normed"),
    [
        ({"embedding": RAW}, 1, False),
        ({"embedding": UNIT}, 1, True),
        ({"embedding": RAW[None]}, 1, False),
        ({"embeddings": TWO}, 2, False),
        ({"face_embeddings": TWO[None]}, 2, False),
        ({"embedding": RAW.astype(np.float64)}, 1, False),
        ({"embedding": RAW.astype(np.float16)}, 1, False),
        ({"normed_embedding": UNIT.astype(np.float16)}, 1, True),
        ({"normed_embeddings": TWO / np.linalg.norm(TWO, axis=1, keepdims=True)}, 2, True),
        ({"whatever": RAW}, 1, False),
        ({"embedding": RAW, "normed_embedding": UNIT, "step": np.zeros(1, np.int64)}, 1, False),
    ],
)
def test_a_plain_embedding_is_read_raw_or_normed(arrays: dict[str, Any], count: int, normed: bool) -> None:
    file = decode_face_file(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
    assert (file.kind, file.normed, file.vectors.shape, file.vectors.dtype) == (
        "plain",
        normed,
        (count, 512),
        np.float32,
    )
    assert file.recogniser == "" and len(file.notes) == 1 and "unknown" in file.notes[0]
    made = character_of(file, "Somebody")
    assert made.identity.count == count and cosine(made.identity.vector, RAW) > (0.999 if count == 1 else 0.7)
    assert "unknown" in made.notes[0] and made.pipeline is not None and made.pipeline.recogniser == ""


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"embedding": RAW[:256]}, r"shape \[256\]; a face embedding has 512"),
        ({"embedding": np.zeros((1, 257, 1280), np.float32)}, "a face embedding has 512"),
        ({"embedding": np.zeros((0, 512), np.float32)}, "a face embedding has 512"),
        ({"embedding": np.tile(RAW, (501, 1))}, "at most 500"),
        ({"embedding": np.zeros(512, np.float32)}, "length 0"),
        ({"embedding": RAW * 100}, "length 2"),
        ({"embedding": RAW * 0.1}, "length 2"),
        ({"embedding": UNIT * 0.8}, "length 0.8.*averaged after it was normed"),
        ({"normed_embedding": RAW}, "a normed one has 1"),
        ({"embeddings": np.stack([RAW, UNIT])}, "length 1"),
        ({"embedding": RAW * np.nan}, "not finite"),
        ({"embedding": RAW.astype(np.float64) * 1e300}, "not finite"),
        ({"embedding": np.arange(512)}, "expected float"),
        ({"embedding": np.zeros((1, 1, 1, 512), np.float32)}, "expected float"),
        ({"a": RAW, "b": RAW}, "no tensor `embedding`; it has a, b"),
        ({}, "it has none"),
        ({f"t{i}": np.zeros(1, np.float32) for i in range(70)}, "70 tensors"),
    ],
)
def test_what_cannot_be_a_face_is_refused_in_a_sentence(arrays: dict[str, Any], says: str) -> None:
    with pytest.raises(FaceError, match=f"(?s)^x.safetensors is not a usable face file: .*{says}"):
        decode_face_file(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}), "x.safetensors")


def test_bfloat16_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import save as torch_save

    with pytest.raises(FaceError, match="dtype BF16: save it as float32"):
        decode_face_file(torch_save({"embedding": torch.from_numpy(RAW).bfloat16()}))


# ---- in a library


def test_a_file_by_another_recogniser_is_not_mixed(character: Character) -> None:
    other = character_of(decode_face_file(write_face_embedding(by(character, "auraface", "e" * 64))), "Bo")
    with pytest.raises(FaceError, match=r"different recognisers.*bo by auraface"):
        blend([(character, 1), (other, 1)])


def test_a_file_of_unknown_origin_is_mixed_with_a_note(character: Character) -> None:
    other = character_of(decode_face_file(save({"embedding": embedding(2, 0)})), "Bo")
    made = blend([(character, 1), (other, 1)])
    assert made.pipeline == character.pipeline and not made.has_crops
    assert any("Bo: its recogniser is unknown; it was taken for buffalo_l's" in note for note in made.notes)
    with pytest.raises(FaceError, match="'Bo' came without a picture"):
        with_encoder(made, FakeAnalyser("auraface", dialect=2))


def test_a_face_without_a_picture_is_not_seen_with_other_eyes(character: Character) -> None:
    ours = character_of(decode_face_file(write_face_embedding(character)), "Ada")
    assert with_encoder(ours, FakeAnalyser()) is ours
    with pytest.raises(FaceError, match="came without a picture, from face model buffalo_l; auraface cannot see it"):
        with_encoder(ours, FakeAnalyser("auraface", dialect=2))
    unknown = character_of(decode_face_file(save({"embedding": RAW})), "Bo")
    assert with_encoder(unknown, FakeAnalyser()) is unknown


@pytest.mark.parametrize(
    ("name", "shown", "slug"),
    [("Ada Ray", "Ada Ray", "ada_ray"), ("王", "王", "face"), ("a\nb/c", "ab/c", "face"), ("", "Face", "face")],
)
def test_any_file_name_gives_a_character(name: str, shown: str, slug: str) -> None:
    made = character_of(decode_face_file(save({"embedding": RAW})), name)
    assert (made.profile.name, made.slug) == (shown, slug)
    assert len(made.digest) == 64 and len(character_of(decode_face_file(reactor()), "x" * 300).profile.name) == 80


# ---- files


def test_a_face_is_saved_and_loaded_by_its_name(tmp_path: Path, character: Character) -> None:
    path = save_face(tmp_path / "models" / "face_embeddings", "Ada Ray", character)
    assert path.name == "ada_ray.safetensors" and load_face(path).profile.name == "ada_ray"
    assert load_face(path, "Ada").profile.name == "Ada"


def test_another_face_of_that_name_is_not_overwritten_in_silence(tmp_path: Path, character: Character) -> None:
    path = save_face(tmp_path, "Ada", character)
    before = path.stat().st_mtime_ns
    assert save_face(tmp_path, "Ada", character) == path and path.stat().st_mtime_ns == before
    with pytest.raises(StorageError, match="exists and holds another face"):
        save_face(tmp_path, "Ada", character, normed=True)
    assert path.stat().st_mtime_ns == before
    save_face(tmp_path, "Ada", character, normed=True, replace=True)
    assert set(load(path.read_bytes())) == {"normed_embedding"}


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", "", "nul\0", "con"])
def test_a_name_is_no_path(tmp_path: Path, character: Character, name: str) -> None:
    with pytest.raises(LikenessError):
        save_face(tmp_path, name, character)
    assert list(tmp_path.glob("*.safetensors")) == []


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, character: Character) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "ada.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(PathError, match="leaves the folder"):
        save_face(tmp_path / "faces", "Ada", character, replace=True)
    assert not (tmp_path / "outside.safetensors").exists()


def test_an_unknown_format_is_refused(tmp_path: Path, character: Character) -> None:
    with pytest.raises(FaceError, match="choose likeness or reactor"):
        save_face(tmp_path, "Ada", character, "pickle")


def test_no_text_shows_an_embedding(character: Character) -> None:
    file = decode_face_file(write_face_embedding(character))
    number = f"{float(file.vectors[0, 0]):.4f}"
    for value in (file, character_of(file, "Ada"), blend([(character, 1)])):
        assert number not in repr(value) and "array" not in repr(value)


def test_the_pipeline_of_these_tests_is_no_published_one() -> None:
    assert isinstance(PIPELINE, Pipeline) and PIPELINE.recogniser not in KNOWN
