"""WD taggers: what they are fed, which words are chosen, and what is said of files that are none.

The published weights (400 MB and more) are not here; the stand-in has their input and output and gives, as
probabilities, the means of blue, green and red, of the brightest point of a picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.dataset import tagger as module
from likeness.dataset.captions import caption_of, tags_of
from likeness.dataset.plan import Facts
from likeness.dataset.tagger import (
    MODEL,
    SIZE,
    WORDS,
    Tag,
    Tagger,
    TaggerFiles,
    Thresholds,
    find_tagger,
    preprocess,
    read_words,
    readable,
)
from likeness.errors import LikenessError, ModelMissingError
from likeness.images import RGB8

from ...onnx_graphs import Shape, channel_means, graph, node
from .pictures import ADA, scene

HEAD = "tag_id,name,category,count\n"
# in the order of the outputs: blue, green, red, and once more
LIST = (
    HEAD + "9,general,9,1\n1,green_grass,0,9\n2,red_dress,0,8\n3,blue_(someone),4,7\n4,^_^,0,6\n5,red_(someone),4,5\n"
)


def means(shape: Shape = ("batch", SIZE, SIZE, 3), words: int | str = 6, inside: str = "input") -> bytes:
    nodes = [
        node("ReduceMean", [inside], "rows", axes=[1], keepdims=0),  # one side after the other: a sum of all is inexact
        node("ReduceMean", ["rows"], "means", axes=[1], keepdims=0),
        node("ReduceMax", [inside], "most", axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["most"], "column", axes=[1]),
        node("Div", ["means", "column"], "shares"),
        node("Concat", ["shares", "shares"], "output", axis=1),
    ]
    return graph(nodes, {inside: shape}, {"output": ("batch", words)})


def install(folder: Path, model: bytes | None = None, words: str = LIST) -> TaggerFiles:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(means() if model is None else model)
    (folder / WORDS).write_text(words, encoding="utf-8")
    return TaggerFiles(folder.name, folder)


@pytest.fixture
def files(tmp_path: Path) -> TaggerFiles:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return install(tmp_path / "wd-vit-tagger-v3")


def coloured(red: int, green: int, blue: int) -> RGB8:
    """A square with one white point, so that the stand-in divides by 255."""
    pixels = np.full((SIZE, SIZE, 3), (red, green, blue), np.uint8)
    pixels[0, 0] = 255
    return pixels


def test_a_picture_lies_in_the_middle_of_a_white_square_blue_first() -> None:
    pixels = preprocess(np.full((224, 448, 3), (10, 20, 30), np.uint8))
    assert pixels.shape == (448, 448, 3) and pixels.dtype == np.float32 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels[224, 100], [30, 20, 10])
    np.testing.assert_array_equal(pixels[:112], 255)
    np.testing.assert_array_equal(pixels[336:], 255)
    np.testing.assert_array_equal(pixels[112:336].min(axis=(0, 1)), [30, 20, 10])


def test_it_is_scaled_by_pillows_bicubic_filter() -> None:
    picture = scene(3, 300, 200)
    square = Image.new("RGB", (300, 300), "white")
    square.paste(Image.fromarray(picture), (0, 50))
    expected = np.asarray(square.resize((448, 448), Image.Resampling.BICUBIC), dtype=np.float32)[:, :, ::-1]
    np.testing.assert_array_equal(preprocess(picture), expected)


def test_a_panorama_does_not_fill_the_memory() -> None:
    pixels = preprocess(np.full((8, 60_000, 3), 40, np.uint8))
    assert pixels.shape == (448, 448, 3) and pixels[0].min() == 255 and pixels.min() < 255


def test_words_are_chosen_by_the_threshold_of_their_kind_the_surest_first(files: TaggerFiles) -> None:
    (found,) = Tagger(files, provider="cpu").tag([coloured(240, 120, 90)])
    assert [t.name for t in found.general] == ["red dress", "green grass", "^_^"] == list(found.names)
    assert found.general[0] == Tag("red dress", pytest.approx(240 / 255, abs=1e-3))
    assert [t.name for t in found.character] == ["red (someone)"]  # .94; blue's .35 is below .85
    (more,) = Tagger(files, Thresholds(general=0.9, character=0.3), "cpu").tag([coloured(240, 120, 90)])
    assert more.names == ("red dress",) and [t.name for t in more.character] == ["red (someone)", "blue (someone)"]


def test_the_usual_thresholds_are_those_of_the_published_taggers(files: TaggerFiles) -> None:
    tagger = Tagger(files, provider="cpu")
    below, above = tagger.tag([coloured(214, 87, 214), coloured(220, 92, 220)])  # .84 and .34, .86 and .36
    assert below.character == () and "green grass" not in below.names
    assert len(above.character) == 2 and "green grass" in above.names


def test_ratings_are_left_out(files: TaggerFiles) -> None:
    (found,) = Tagger(files, Thresholds(0.0, 0.0), "cpu").tag([coloured(255, 255, 255)])
    assert "general" not in {t.name for t in (*found.general, *found.character)}
    assert len(found.general) == 3 and len(found.character) == 2


def test_pictures_keep_their_order_and_do_not_change_each_other(files: TaggerFiles) -> None:
    tagger = Tagger(files, Thresholds(0.0, 0.0), "cpu")
    pictures = [coloured(25 * i, 10, 200 - 15 * i) for i in range(10)]  # more than two passes
    together = tagger.tag(pictures)
    assert [tagger.tag([p])[0].names for p in pictures] == [t.names for t in together]
    red = [next(t.probability for t in found.general if t.name == "red dress") for found in together]
    np.testing.assert_allclose(red, [25 * i / 255 for i in range(10)], atol=1e-3)
    assert tagger.tag([]) == ()


def test_its_words_make_a_caption(files: TaggerFiles) -> None:
    (found,) = Tagger(files, provider="cpu").tag([coloured(240, 120, 90)])
    assert tags_of(caption_of(Facts(tags=found.names), ADA, 0)) == ["ohwx woman", "red dress", "green grass", "^_^"]


def test_it_can_be_stopped_between_two_passes(files: TaggerFiles) -> None:
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tagger(files, provider="cpu").tag([coloured(1, 2, 3)] * 9, stop)


def test_a_graphics_card_that_fails_gives_way_to_the_cpu(files: TaggerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = module.open_session

    class Failing:
        def run(self, *_: Any) -> Any:
            raise RuntimeError("CUDA out of memory")

    def opening(path: Path, provider: str, sha256: str) -> Any:
        opened.append(provider)
        return real(path, provider, sha256) if provider == "cpu" else Failing()

    monkeypatch.setattr(module, "open_session", opening)
    tagger = Tagger(files)
    assert tagger.tag([coloured(240, 0, 0)])[0].names == ("red dress",)
    tagger.tag([coloured(240, 0, 0)])
    assert opened == ["auto", "cpu"]  # and it stays there


def test_a_model_for_one_picture_at_a_time_is_fed_one(files: TaggerFiles) -> None:
    install(files.folder, means((1, SIZE, SIZE, 3)))
    assert len(Tagger(files, provider="cpu").tag([coloured(1, 2, 3)] * 5)) == 5


WRONG = {
    "another size": means(("batch", 384, 384, 3)),
    "channels first, as PixAI's": channel_means(SIZE),
    "another list": means(words=10_861),
    "eight at a time": means((8, SIZE, SIZE, 3)),
    "no model": b"",
    "an unfinished download": b"\0" * 500,
}


@pytest.mark.parametrize("model", WRONG.values(), ids=WRONG)
def test_other_models_are_refused_in_one_sentence(files: TaggerFiles, model: bytes) -> None:
    install(files.folder, model)
    with pytest.raises(ModelMissingError, match=r"model\.onnx is (no WD tagger of version 3|not a whole)") as told:
        Tagger(files, provider="cpu")
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_an_output_that_does_not_fit_the_words_is_refused(files: TaggerFiles) -> None:
    install(files.folder, means(words="words"), LIST + "6,one_more,0,1\n")
    with pytest.raises(ModelMissingError, match=r"gave \(1, 6\) for 1 pictures and 7 words"):
        Tagger(files, provider="cpu").tag([coloured(1, 2, 3)])


@pytest.mark.parametrize("fill", [0, 7])
def test_what_gives_no_probabilities_is_refused(files: TaggerFiles, fill: int) -> None:
    sums = [node("ReduceSum", ["input"], "s", axes=[1, 2], keepdims=0), node("Log", ["s"], "l"),
            node("Concat", ["l", "l"], "output", axis=1)]  # fmt: skip
    install(files.folder, graph(sums, {"input": ("batch", SIZE, SIZE, 3)}, {"output": ("batch", 6)}))
    with pytest.raises(ModelMissingError, match="are no probabilities"):
        Tagger(files, provider="cpu").tag([np.full((9, 9, 3), fill, np.uint8)])


def test_a_file_that_changes_after_it_was_looked_at_is_refused(files: TaggerFiles) -> None:
    tagger = Tagger(files, provider="cpu")
    install(files.folder, means(words="words"))
    with pytest.raises(ModelMissingError, match="has changed since"):
        tagger.tag([coloured(1, 2, 3)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "name;category\nhat;0\n",
        HEAD + "1,hat,clothes,2\n",
        HEAD + "9,general,9,1\n",
        HEAD + "1\n",
        "\0\n\0",
        "<html>",
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / WORDS).write_text(text)
    with pytest.raises(ModelMissingError, match="is no list of a WD tagger"):
        read_words(tmp_path / WORDS)


def test_a_missing_list_and_one_in_no_known_letters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"download selected_tags\.csv again"):
        read_words(tmp_path / WORDS)
    (tmp_path / WORDS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelMissingError, match="is no list"):
        read_words(tmp_path / WORDS)


def test_the_list_may_have_a_byte_order_mark_windows_lines_and_broken_numbers(tmp_path: Path) -> None:
    (tmp_path / WORDS).write_bytes(b"\xef\xbb\xbf" + b'tag_id,name,category,count\r\n1.0,"a_""b""",0.0,2.0\r\n')
    assert [(w.name, w.category) for w in read_words(tmp_path / WORDS)] == [('a "b"', 0)]


@pytest.mark.parametrize(
    ("name", "written"),
    [("long_hair", "long hair"), ("^_^", "^_^"), ("(o)_(o)", "(o)_(o)"), ("||_||", "||_||"), ("no_bra", "no bra"),
     (":d", ":d"), ("star_(symbol)", "star (symbol)"), (",_,", ""), ("_", ""), ("a\u200bb", "")],
)  # fmt: skip
def test_underscores_become_blanks_but_in_smileys(name: str, written: str) -> None:
    assert readable(name) == written


@pytest.mark.parametrize("wrong", [{"general": -0.1}, {"character": 1.1}, {"general": float("nan")}])
def test_thresholds_are_probabilities(wrong: dict[str, float]) -> None:
    with pytest.raises(LikenessError, match="between 0 and 1"):
        Thresholds(**wrong)


def test_a_model_of_version_3_is_found_first_and_half_a_model_is_none(tmp_path: Path) -> None:
    assert find_tagger([tmp_path, tmp_path / "absent"]) is None
    install(tmp_path / "a-moat-tagger-v2")
    install(tmp_path / "wd-vit-tagger-v3")
    (tmp_path / "a-tagger-v3").mkdir()
    (tmp_path / "a-tagger-v3" / MODEL).write_bytes(b"x")
    found = find_tagger([tmp_path])
    assert found is not None and found.name == "wd-vit-tagger-v3"
    assert find_tagger([found.folder]) == found  # its own folder is a place, too
