"""Every picture opened once: fingerprint, light, faces and verdict, all from the same pixels.

What a survey holds is enough to plan a set again and again with other rules; no picture is kept in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from ..errors import ImageError, LikenessError
from ..faces.face import Analyser, Face, Pose, Vector, normalise
from ..faces.stream import Analysed, analyse_many
from ..images import A8, RGB8
from ..report.folder import LeftOut, shown
from ..scoring import Judge, Score
from ..style import ImageEmbedder, without_faces
from .measures import Pixels, clipped_share, mouth_of, pixels_of
from .plan import Box
from .similar import Fingerprint, fingerprint
from .sources import TRAINED, Loaded, Source, Sources
from .tagger import Tagger
from .workers import in_order

_MAX_REASON = 300  # characters
_CHUNK = 8  # pictures in one pass of an image encoder
SMALL = 512  # px of the longer side that an image encoder needs at most

Progress = Callable[[int, int], None]  # (done, of)


@dataclass(frozen=True)
class FaceSeen:
    """One face of a picture."""

    box: tuple[float, float, float, float]  # left, top, right, bottom; px
    width: float  # px
    sharpness: float  # variance of the Laplacian of the 112 px crop
    brightness: float  # mean grey of that crop, 0..255
    clipped: float  # share of black and white pixels in the box, 0..1
    pose: Pose
    mouth: float  # its width / distance of the eyes
    drawn: bool = False
    lower: float | None = None  # as `Quality.lower`
    embedding: Vector | None = field(default=None, repr=False, compare=False)  # float32 [512], L2 norm 1

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]


@dataclass(frozen=True)
class Verdict:
    """What the identity gate said."""

    verdict: str  # "accepted", "rejected", "not measurable"
    reason: str = ""
    similarity: float | None = None  # cosine, -1..1
    copy: str = ""  # the reference that it is nearly


@dataclass(frozen=True)
class Seen:
    """One picture."""

    source: str
    sha256: str
    width: int  # px, upright
    height: int
    pixels: Pixels
    print: Fingerprint
    exact: str  # sha256 of the pixels
    transparent: bool  # the file has an alpha channel that is used
    opaque: Box | None = None  # what of the picture is opaque, or trained; None: all
    masked: bool = False  # a mask was given for it
    faces: tuple[FaceSeen, ...] = ()  # largest first
    chosen: int | None = None  # index of the face that counts
    verdict: Verdict | None = None  # None where nobody judged
    look: Vector | None = field(default=None, repr=False, compare=False)  # image embedding without the faces, norm 1
    caption: bytes | None = field(default=None, repr=False)
    caption_error: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    tags: tuple[str, ...] = ()  # of a tagger

    @property
    def face(self) -> FaceSeen | None:
        return None if self.chosen is None else self.faces[self.chosen]


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be opened."""

    source: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """All pictures, in order of their names."""

    root: str
    seen: tuple[Seen, ...]
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()  # what the judge says about its figures


@dataclass
class _Job:
    """A picture on its way through the face model."""

    source: Source
    seen: Seen | None = None

    def load(self) -> RGB8:
        loaded = self.source.load()
        picture = loaded.layers.over()
        self.seen = _seen(self.source, loaded, picture)
        return picture


def survey(
    sources: Sources,
    analyser: Analyser | None = None,
    judge: Judge | None = None,
    embedder: ImageEmbedder | None = None,
    tagger: Tagger | None = None,
    progress: Progress = lambda done, of: None,
    check: Callable[[], None] = lambda: None,
) -> Survey:
    """Open and measure every picture. Without an analyser no faces are looked for.

    `progress` is called after each picture; both it and `check`, many times a second, may raise to stop. With a cached
    analyser a survey that was stopped goes on quickly.
    """
    eye = _Eye(sources, judge, embedder, tagger, progress)
    jobs = [_Job(s) for s in sources.pictures]
    progress(0, len(jobs))
    with closing(_analysed(jobs, analyser, check)) as stream:
        for found in stream:
            eye.take(found)
    eye.finish()
    notes = tuple(judge.notes()) if judge is not None else ()
    return Survey(sources.root, tuple(eye.seen), tuple(eye.unreadable), sources.left_out, notes)


def _analysed(
    jobs: list[_Job], analyser: Analyser | None, check: Callable[[], None]
) -> Generator[Analysed[_Job], None, None]:
    if analyser is not None:
        yield from analyse_many(((job, job.load) for job in jobs), analyser, check=check)
        return

    def plain(job: _Job) -> Analysed[_Job]:
        try:
            return Analysed(job, job.load(), ())
        except LikenessError as error:
            return Analysed(job, None, (), error)

    yield from in_order(jobs, plain, check)


class _Eye:
    """Collects what was seen; pictures wait for the image encoder in small copies."""

    def __init__(
        self,
        sources: Sources,
        judge: Judge | None,
        embedder: ImageEmbedder | None,
        tagger: Tagger | None,
        progress: Progress,
    ) -> None:
        self._root, self._total = sources.root, len(sources.pictures)
        self._judge, self._embedder, self._tagger, self._progress = judge, embedder, tagger, progress
        self._waiting: list[tuple[int, RGB8, RGB8]] = []  # index in `seen`, the picture, and without its faces
        self.seen: list[Seen] = []
        self.unreadable: list[Unreadable] = []

    def take(self, found: Analysed[_Job]) -> None:
        try:
            if found.error is not None:
                raise found.error
            assert found.picture is not None and found.key.seen is not None
            self.seen.append(self._complete(found.key.seen, found.picture, found.faces))
            if self._embedder is not None or self._tagger is not None:
                bare = without_faces(found.picture, found.faces) if self._embedder is not None else found.picture
                self._waiting.append((len(self.seen) - 1, _small(found.picture), _small(bare)))
        except LikenessError as error:
            self.unreadable.append(Unreadable(found.key.source.name, self._reason(error, found.key.source)))
        if len(self._waiting) >= _CHUNK:
            self.finish()
        self._progress(len(self.seen) + len(self.unreadable), self._total)

    def _complete(self, seen: Seen, picture: RGB8, faces: tuple[Face, ...]) -> Seen:
        score = self._judge.score(seen.source, faces, picture) if self._judge is not None else None
        drawn = set() if score is None else {id(f.face) for f in score.faces if f.drawn}
        chosen = score.face if score is not None else next(iter(faces), None)
        return replace(
            seen,
            faces=tuple(_face(f, picture, id(f) in drawn) for f in faces),
            chosen=next((i for i, f in enumerate(faces) if f is chosen), None),
            verdict=None if score is None else _verdict(score),
        )

    def finish(self) -> None:
        """Embed and tag what waits."""
        indices = [index for index, _, _ in self._waiting]
        if self._embedder is not None and indices:
            for index, vector in zip(
                indices, self._embedder.embed([bare for _, _, bare in self._waiting]), strict=True
            ):
                self.seen[index] = replace(self.seen[index], look=normalise(vector))
        if self._tagger is not None and indices:
            for index, tags in zip(indices, self._tagger.tag([whole for _, whole, _ in self._waiting]), strict=True):
                self.seen[index] = replace(self.seen[index], tags=tags.names)
        self._waiting.clear()

    def _reason(self, error: LikenessError, source: Source) -> str:
        """Without the file's own name, which stands beside it, and without the folder's place."""
        text = str(error)
        if source.path is not None:
            text = text.replace(str(source.path), "the file").replace(f"{source.path.name}: ", "")
        return shown(text.replace(self._root, "the folder") if self._root else text)[:_MAX_REASON]


def _verdict(score: Score) -> Verdict:
    chosen = score.chosen
    copy = chosen.nearest if chosen is not None and chosen.copy else ""
    return Verdict(score.verdict, score.reason, score.similarity, copy)


def _face(face: Face, picture: RGB8, drawn: bool) -> FaceSeen:
    left, top, right, bottom = (float(v) for v in face.box)
    rows = slice(max(int(top), 0), max(int(bottom), 0))
    inside = picture[rows, max(int(left), 0) : max(int(right), 0)]
    grey = np.asarray(Image.fromarray(inside).convert("L")) if inside.size else np.zeros((0,), dtype=np.uint8)
    quality = face.quality
    return FaceSeen(
        (left, top, right, bottom), quality.width, quality.sharpness, quality.brightness,
        clipped_share(grey), face.pose, mouth_of(face), drawn, quality.lower, face.normed,
    )  # fmt: skip


def _seen(source: Source, loaded: Loaded, picture: RGB8) -> Seen:
    height, width = picture.shape[:2]
    alpha = loaded.mask if loaded.mask is not None else loaded.layers.alpha
    if loaded.mask is not None and not (loaded.mask >= TRAINED).any():
        raise ImageError(
            "its mask is 0 everywhere, so nothing would be trained, as Load Image gives it for an opaque picture: "
            "invert it, or connect none."
        )
    return Seen(
        source=source.name,
        sha256=loaded.sha256,
        width=width,
        height=height,
        pixels=pixels_of(picture),
        print=fingerprint(picture),
        exact=_exact(picture, loaded.mask),
        transparent=loaded.layers.alpha is not None,
        opaque=None if alpha is None else _opaque(alpha),
        masked=loaded.mask is not None,
        caption=source.caption,
        caption_error=source.caption_error,
        labels=source.labels,
        folder=source.folder,
    )


def _exact(picture: RGB8, mask: A8 | None) -> str:
    found = hashlib.sha256(f"{picture.shape}".encode())
    for layer in (picture, mask):
        found.update(b"" if layer is None else np.ascontiguousarray(layer).data)
    return found.hexdigest()


def _opaque(alpha: A8) -> Box:
    """The part that holds every pixel of at least half opacity; the whole where there is none."""
    rows, columns = np.flatnonzero((alpha >= TRAINED).any(axis=1)), np.flatnonzero((alpha >= TRAINED).any(axis=0))
    if not len(rows):
        return Box(left=0, top=0, width=alpha.shape[1], height=alpha.shape[0])
    left, top = int(columns[0]), int(rows[0])
    return Box(left=left, top=top, width=int(columns[-1]) - left + 1, height=int(rows[-1]) - top + 1)


def _small(picture: RGB8) -> RGB8:
    image = Image.fromarray(picture)
    image.thumbnail((SMALL, SMALL))
    return np.asarray(image)


def unseen(survey: Survey) -> Iterable[tuple[str, str]]:
    """(source, reason) of everything that could not be opened or is no picture."""
    yield from ((u.source, u.reason) for u in survey.unreadable)
    yield from ((x.name, x.reason) for x in survey.left_out)
