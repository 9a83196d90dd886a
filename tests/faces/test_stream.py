"""Many pictures at once give what each gives alone, in order, in bounded memory, and stop when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likeness.errors import ImageError, LikenessError, ModelMissingError
from likeness.faces import stream as stream_module
from likeness.faces.analyser import LadderAnalyser, OnnxAnalyser
from likeness.faces.cache import CachedAnalyser, EmbeddingCache
from likeness.faces.face import Face
from likeness.faces.scrfd import NOTHING, Detections
from likeness.faces.stream import Analysed, analyse_many
from likeness.images import RGB8

from ..fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture

SMALL = replace(PIPELINE, det_sizes=(64,))  # px; what the ladder pads and turns is then made fast
Items = Iterator[tuple[int, Callable[[], RGB8]]]
PATIENCE = 0.5  # s


class Engine:
    """Finds as many faces as pixel 0 says; an embedding is made of the mean colour of its crop."""

    providers: tuple[str, ...] = ("FakeProvider",)

    def __init__(self, batchable: bool = True, pause: float = 0.0) -> None:
        self.batchable, self._pause = batchable, pause
        self.batches: list[int] = []

    def detect(self, image: RGB8, size: int) -> Detections:
        time.sleep(self._pause)
        count = int(image[0, 0, 0])
        if count == 0:
            return NOTHING
        left = np.arange(count, dtype=np.float32)
        boxes = np.stack([left, left, left + 30, left + 30], axis=1)
        template = np.array([[9, 12], [21, 12], [15, 18], [10.5, 24], [19.5, 24]], np.float32)
        return Detections(boxes, template[None] + boxes[:, None, :2], np.full(count, 0.9, np.float32))

    def side(self) -> int:
        return 112

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.batches.append(len(crops))
        time.sleep(self._pause)
        means = crops.reshape(len(crops), -1, 3).mean(axis=1)
        return np.tile(np.concatenate([means, means**2 / 255 + 1], axis=1), (1, 86))[:, :512].astype(np.float32)


def crowd(count: int, seed: int = 0) -> RGB8:
    picture = np.random.default_rng(seed).integers(1, 256, (64, 64, 3)).astype(np.uint8)
    picture[0, 0] = count
    return picture


def ladder(engine: Engine | None = None) -> tuple[LadderAnalyser, Engine]:
    engine = engine or Engine()
    return LadderAnalyser(SMALL, engine), engine


def items(pictures: list[RGB8]) -> Items:
    return ((i, lambda p=p: p) for i, p in enumerate(pictures))


def same(a: tuple[Face, ...], b: tuple[Face, ...]) -> bool:
    def alike(x: Face, y: Face) -> bool:
        arrays = all(np.array_equal(getattr(x, n), getattr(y, n)) for n in ("box", "keypoints", "embedding", "crop"))
        return arrays and (x.score, x.pose, x.quality, x.rung) == (y.score, y.pose, y.quality, y.rung)

    return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("likeness-")}


def gone_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not threads()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert gone_within(PATIENCE), f"threads left: {threads()}"


PICTURES = [
    crowd(n, seed) for seed, n in enumerate([1, 0, 3, 1, 1, 7, 2, 0, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 17, 1])
]


@pytest.mark.parametrize("batchable", [True, False])
@pytest.mark.parametrize("ahead", [1, 5, 32])
def test_the_stream_gives_what_each_picture_gives_alone_and_in_order(batchable: bool, ahead: int) -> None:
    analyser, _ = ladder(Engine(batchable))
    results = list(analyse_many(items(PICTURES), analyser, ahead=ahead, workers=4))
    assert [r.key for r in results] == list(range(len(PICTURES)))
    for result, picture in zip(results, PICTURES, strict=True):
        assert result.picture is picture and result.error is None
        assert same(result.faces, analyser.analyse(picture))


def test_the_faces_of_several_pictures_share_a_batch() -> None:
    analyser, engine = ladder()
    list(analyse_many(items([crowd(1, seed) for seed in range(32)]), analyser))
    assert engine.batches == [32, 32]  # each face twice: whole, and with its lower half blanked


def test_batches_do_not_depend_on_how_fast_a_picture_was_loaded() -> None:
    def run(slow: int) -> list[int]:
        analyser, engine = ladder()
        loads = ((i, lambda i=i, p=p: (time.sleep(0.02 * (i % 3 == slow)), p)[1]) for i, p in enumerate(PICTURES))
        list(analyse_many(loads, analyser, workers=3))
        return engine.batches

    assert run(0) == run(1) == run(2)


def test_a_recogniser_that_is_not_batchable_sees_one_picture_at_a_time() -> None:
    analyser, engine = ladder(Engine(batchable=False))
    list(analyse_many(items([crowd(1, 1), crowd(3, 2), crowd(1, 3)]), analyser))
    assert sorted(engine.batches) == [2, 2, 6]


def test_on_a_processor_no_run_of_the_recogniser_is_long() -> None:
    analyser, engine = ladder()
    engine.providers = ("CPUExecutionProvider",)
    list(analyse_many(items([crowd(29)]), analyser))
    assert max(engine.batches) <= stream_module.CPU_CROPS and sum(engine.batches) == 58


def test_any_analyser_will_do() -> None:
    pictures = [face_picture(p, 1) for p in range(5)] + [empty_picture()]
    results = list(analyse_many(items(pictures), FakeAnalyser()))
    assert [len(r.faces) for r in results] == [1, 1, 1, 1, 1, 0]
    assert same(results[3].faces, FakeAnalyser().analyse(pictures[3]))


def test_nothing_gives_nothing() -> None:
    assert list(analyse_many([], FakeAnalyser())) == []


def broken() -> RGB8:
    raise ImageError("this.png: the picture is damaged.")


def test_a_picture_that_cannot_be_loaded_is_an_error_of_its_own_and_the_rest_goes_on() -> None:
    analyser, _ = ladder()
    loads = [("a", lambda: crowd(1)), ("b", broken), ("c", lambda: crowd(2))]
    a, b, c = analyse_many(loads, analyser)
    assert (len(a.faces), len(b.faces), len(c.faces)) == (1, 0, 2)
    assert b.picture is None and isinstance(b.error, ImageError) and a.error is None and c.error is None


def test_a_picture_that_cannot_be_analysed_is_an_error_of_its_own() -> None:
    analyser, _ = ladder()
    grey = np.zeros((5, 5), np.uint8)
    first, second = analyse_many(items([grey, crowd(1)]), analyser)
    assert isinstance(first.error, LikenessError) and first.picture is grey and len(second.faces) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), ModelMissingError("no model")])
def test_every_other_exception_comes_out_when_its_turn_has_come(error: Exception) -> None:
    def fail() -> RGB8:
        raise error

    analyser, _ = ladder()
    loads = [(0, lambda: crowd(1)), (1, lambda: crowd(1)), (2, fail), (3, lambda: crowd(1))]
    done: list[int] = []
    with pytest.raises(type(error)):
        for result in analyse_many(loads, analyser):
            done.append(result.key)
    assert done == [0, 1]


def test_an_exception_of_the_items_comes_out() -> None:
    def source() -> Items:
        yield 0, lambda: crowd(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(analyse_many(source(), ladder()[0]))


def test_closing_early_ends_the_threads() -> None:
    analyser, _ = ladder(Engine(pause=0.05))
    results = analyse_many(items([crowd(1, s) for s in range(1000)]), analyser)
    next(results)
    begun = time.monotonic()
    results.close()
    assert gone_within(PATIENCE) and time.monotonic() - begun < PATIENCE


class Interrupted(Exception):
    pass


def test_a_check_that_raises_stops_within_half_a_second_even_in_a_long_ladder() -> None:
    analyser, _ = ladder(Engine(pause=0.1))  # nobody in the pictures: every rung is tried, 3 s and more each
    begun, told = time.monotonic(), []

    def check() -> None:
        if not told and time.monotonic() - begun > 0.3:
            told.append(time.monotonic())
            raise Interrupted  # once only, like a flag that is cleared when it is read

    with pytest.raises(Interrupted):
        list(analyse_many(items([crowd(0, s) for s in range(50)]), analyser, check=check))
    assert gone_within(PATIENCE) and time.monotonic() - told[0] < PATIENCE


def test_a_check_that_raises_stops_a_long_row_of_recogniser_runs() -> None:
    class Slow(Engine):
        providers = ("CPUExecutionProvider",)

        def embed(self, crops: np.ndarray) -> np.ndarray:
            started.set()
            time.sleep(0.1)
            return super().embed(crops)

    started, raised = threading.Event(), []

    def check() -> None:
        if started.is_set():
            raised.append(time.monotonic())
            raise Interrupted

    with pytest.raises(Interrupted):
        list(analyse_many(items([crowd(200)]), ladder(Slow())[0], check=check))
    assert gone_within(PATIENCE) and time.monotonic() - raised[0] < PATIENCE


def test_the_count_of_pictures_in_hand_is_bounded() -> None:
    analyser, _ = ladder()
    loaded: list[int] = []

    def load(i: int) -> RGB8:
        loaded.append(i)
        return crowd(1, i)

    for result in analyse_many(((i, lambda i=i: load(i)) for i in range(200)), analyser, ahead=8):
        assert len(loaded) - result.key <= 8 + stream_module.BATCH_PICTURES
    assert len(loaded) == 200


def test_the_bytes_of_pictures_in_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = crowd(1).nbytes
    monkeypatch.setattr(stream_module, "AHEAD_BYTES", 4 * size)
    analyser, _ = ladder()
    loaded: list[int] = []

    def load(i: int) -> RGB8:
        loaded.append(i)
        return crowd(1, i)

    for result in analyse_many(((i, lambda i=i: load(i)) for i in range(60)), analyser, workers=2):
        time.sleep(0.002)
        assert len(loaded) - result.key <= 4 + 2 + 1  # the bound, a picture per worker, the caller's own
    assert len(loaded) == 60


def test_one_picture_over_the_bound_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "AHEAD_BYTES", 10)
    assert len(list(analyse_many(items(PICTURES), ladder()[0]))) == len(PICTURES)


def test_what_is_known_is_not_looked_for_and_what_is_new_is_kept(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    plain, _ = ladder()
    first = CachedAnalyser(plain, cache)
    fresh = list(analyse_many(items(PICTURES), first))
    assert (first.hits, first.misses) == (0, len(PICTURES))
    engine = Engine()
    engine.detect = engine.embed = None  # type: ignore[assignment]
    second = CachedAnalyser(LadderAnalyser(SMALL, engine), cache)
    again = list(analyse_many(items(PICTURES), second))
    assert (second.hits, second.misses) == (len(PICTURES), 0)
    stored = [tuple(replace(f, score=float(np.float32(f.score))) for f in r.faces) for r in fresh]
    assert all(same(a, b.faces) for a, b in zip(stored, again, strict=True))
    assert all(same(a, second.analyse(p)) for a, p in zip(stored, PICTURES, strict=True))


def test_a_result_says_nothing_of_pixels_or_embeddings_in_its_text() -> None:
    (result,) = analyse_many(items([crowd(1)]), ladder()[0])
    assert isinstance(result, Analysed) and "array" not in repr(result).replace("box=array", "")


def test_photos_give_the_same_faces_in_a_stream(
    analyser: OnnxAnalyser, photos: dict[str, RGB8], analysed: dict[str, tuple[Face, ...]]
) -> None:
    names = [n for n in photos if n.startswith(("person_a", "obama", "multi", "no_face"))]
    for result in analyse_many(((n, lambda n=n: photos[n]) for n in names), analyser):
        alone = analysed[result.key]
        assert len(result.faces) == len(alone)
        for found, known in zip(result.faces, alone, strict=True):
            assert np.array_equal(found.box, known.box) and np.array_equal(found.crop, known.crop)
            # A batch of another size may be summed in another order.
            assert np.abs(found.normed - known.normed).max() < 1e-5
