"""`likeness demo`: the sample character from cached identity to a scored picture.

With a ComfyUI it draws the character through the prompt queue, twice, with the user's own model files
or with random stand-ins. Without one it runs profile, cache, score and report, and says what was left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import images
from ..assets import base_name, choose_adapter, choose_image_encoder
from ..character import Character, open_character
from ..doctor import Folders, listed
from ..errors import LikenessError, ModelMissingError
from ..faces.cache import CachedAnalyser, EmbeddingCache
from ..faces.face import Analyser, Face, Pipeline
from ..faces.packs import find_packs
from ..files import atomic_write, delete_file, make_folder
from ..library import Library
from ..lora_file import checkpoint_family
from ..remote.client import QueueClient
from ..render import label, labelled
from ..scoring import Score, judge_for, unreadable
from .comfy import PACK, find_python, has_gpu
from .graphs import Files, Overrides, portrait
from .own_server import own_server, show_seconds
from .places import Places

SAMPLE, SLUG = PACK / "sample", "mara_voss"
STANDIN_CHECKPOINT = "standin_sd15.ckpt"
_QUICK = Overrides(steps=4, width=128, height=128)  # noise looks the same at any size


@dataclass(frozen=True)
class Models:
    """What the demo draws with."""

    files: Files
    standins: bool  # random numbers instead of trained weights
    why: str  # in one sentence


@dataclass
class Report:
    """What the demo says, on the terminal and in report.md; `values` go to report.json."""

    out: Path
    lines: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def save(self, scored: list[tuple[Score, str]]) -> None:
        """`scored`: each score and the file of its labelled picture."""
        self.values["scores"] = [score.as_dict() for score, _ in scored]
        rows = "\n".join(f"| {score.name} | {label(score)} | ![{score.name}]({file}) |" for score, file in scored)
        table = f"| picture | similarity to Mara Voss, -1 to 1 | |\n|---|---|---|\n{rows}"
        text = "\n\n".join(["# Likeness demo", *self.lines, table]) + "\n"
        atomic_write(self.out / "report.md", text.encode())
        atomic_write(self.out / "report.json", json.dumps(self.values, indent=2).encode())


class NoModel:
    """Stands where a face model would: what is not in the cache cannot be analysed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    @property
    def providers(self) -> tuple[str, ...]:
        return ()

    def analyse(self, image: images.RGB8) -> tuple[Face, ...]:
        raise ModelMissingError("no face model is installed, and this picture has no cached face")


def demo(arguments: argparse.Namespace, places: Places) -> int:
    """Run the demo; the exit code is 0 when everything that could run did."""
    report = Report(make_folder(arguments.out.resolve()))
    for old in (*report.out.glob("scored_*.png"), report.out / "portrait.png"):
        delete_file(old)
    character, engine = _sample_character(places, report)
    pictures = [
        (title, f"scored_{file}.png", images.read(SAMPLE / "pictures" / f"{source}.png"))
        for title, file, source in (
            ("Mara, smiling", "smile", "mara_voss_4_smile"),
            ("somebody else", "other", "tomas_reed"),
        )
    ]
    python = find_python(places.comfy) if places.comfy else None
    if places.comfy is None or python is None:
        report.say(
            "No ComfyUI was found (COMFYUI_PATH, the folder this pack sits in, ~/comfy/ComfyUI): "
            "nothing was drawn. Left out: the picture."
        )
    else:
        drawn = _draw(places.comfy, places.folders, python, arguments.checkpoint, report)
        pictures.insert(0, ("the drawn picture", "scored_portrait.png", drawn))
    scored = _score(character, engine, pictures, report.out)
    print("Similarity to Mara Voss (cosine, -1 to 1):")
    for score, _ in scored:
        print(f"  {score.name}: {label(score)}")
    report.save(scored)
    print(f"Files: {report.out}")
    return 0


def _sample_character(places: Places, report: Report) -> tuple[Character, Analyser]:
    """A fresh copy of the sample, opened the way every node opens a character, and what measures it."""
    library = Library([report.out / "characters"])
    target = report.out / "characters" / SLUG
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(SAMPLE / "characters" / SLUG, target)
    packs = find_packs(places.folders.insightface)
    if packs:
        engine = places.analyser(packs[0].name)
        library.update(SLUG, lambda profile: profile.model_copy(update={"face_model": packs[0].name}))
        open_character(library, SLUG, lambda pack: engine)
        about = f"Its face was computed with {packs[0].name}."
    else:
        about = "No face model is installed, so its embeddings are made up: scores show the flow, not a likeness."
    begun = time.perf_counter()
    character = open_character(library, SLUG)
    identity, taken = character.identity, time.perf_counter() - begun
    if not packs:
        engine = CachedAnalyser(NoModel(_pipeline(character)), EmbeddingCache(SAMPLE / "cache"))
    report.say(
        f"Character {character.profile.name}: {identity.count} references, identity opened from cache "
        f"in {taken * 1000:.0f} ms. {about}"
    )
    report.values["character"] = {"slug": SLUG, "references": identity.count, "open_ms": round(taken * 1000, 1)}
    return character, engine


def _pipeline(character: Character) -> Pipeline:
    if character.pipeline is None:
        raise LikenessError(f"{SAMPLE} is not complete: check it out again.")
    return character.pipeline


def _draw(comfy: Path, folders: Folders, python: Path, checkpoint: str | None, report: Report) -> images.RGB8:
    """The portrait graph through the queue of a ComfyUI of our own, twice; returns the second picture."""
    base = make_folder(report.out / "comfyui")
    models = _models(folders, base, checkpoint, python)
    report.say(models.why)
    gpu = has_gpu(python)
    report.say(f"Starting ComfyUI at {comfy} on the {'GPU' if gpu else 'CPU'} ...")
    known = None if models.standins else folders
    with own_server(comfy, python, base, [report.out / "characters"], known, gpu) as server:
        client, pictures = QueueClient(server.url), []
        for run, about in ((1, "identity compiled"), (2, "from compiled identity")):
            begun = time.monotonic()
            size = _QUICK if models.standins else Overrides()
            result = client.run(portrait(models.files, seed=run, overrides=size), 1800, show_seconds)
            seconds = time.monotonic() - begun
            pictures.append(images.decode(client.fetch(result.images()[0])))
            report.say(f"Picture {run}, {about}: {seconds:.1f} s from the queue to the file.")
            report.values[f"run_{run}_seconds"] = round(seconds, 2)
    atomic_write(report.out / "portrait.png", images.encode_png(pictures[-1]))
    if models.standins:
        report.say("portrait.png is noise, as it must be: random stand-in models drew it.")
    report.values["standins"] = models.standins
    return pictures[-1]


def _models(folders: Folders, base: Path, checkpoint: str | None, python: Path) -> Models:
    """The user's files when a checkpoint, a FaceID adapter and what it needs fit together, else stand-ins."""
    for name in [checkpoint] if checkpoint else listed(folders.checkpoints):
        family = next((f for root in folders.checkpoints if (f := checkpoint_family(root / name))), None)
        adapter = choose_adapter(listed(folders.ipadapter), family) if family else None
        encoder = choose_image_encoder(listed(folders.clip_vision))
        if adapter and (encoder or "plus" not in base_name(adapter).lower()):
            return Models(Files(name, SLUG, adapter), False, f"Drawing with {name} and {adapter}.")
    if checkpoint:
        raise LikenessError(
            f"The demo cannot draw with {checkpoint!r}: it wants an SD 1.5 or SDXL .safetensors file in "
            f"{folders.checkpoints[0]} and a FaceID adapter for it in {folders.ipadapter[0]}. `likeness doctor` "
            "says what is there."
        )
    _make_standins(python, base / "models")
    why = (
        f"No checkpoint with a fitting FaceID adapter in {folders.checkpoints[-1].parent}: drawing with random "
        "stand-in models, so the picture is noise."
    )
    return Models(Files(STANDIN_CHECKPOINT, SLUG), True, why)


def _make_standins(python: Path, models: Path) -> None:
    what = "checkpoint,plusv2,companion,clip_vision"
    command = [python, PACK / "tools" / "make_standins.py", "--out", models, "--family", "sd15", "--what", what]
    made = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if made.returncode:
        raise LikenessError(f"The stand-in models could not be made: {made.stderr.strip().splitlines()[-1:]}")


def _score(
    character: Character, engine: Analyser, pictures: list[tuple[str, str, images.RGB8]], out: Path
) -> list[tuple[Score, str]]:
    """Score each (title, file, picture) and write it, labelled, to its file."""
    scored, judge = [], judge_for(character, engine, measure_drawn=True)  # the sample is drawn
    for title, file, pixels in pictures:
        try:
            score = judge.score(title, engine.analyse(pixels), pixels)
        except ModelMissingError as error:
            score = unreadable(title, str(error))
        atomic_write(out / file, images.encode_png(labelled(pixels, score)))
        scored.append((score, file))
    return scored
