"""Detail Face: the character's face drawn anew at a larger size, and taken only where it is no less alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io

from ..likeness import detail
from ..likeness.best_of import MAX_SEED
from ..likeness.character import Character
from ..likeness.detail import Mask, Pixels
from ..likeness.detail_report import Outcome, Part, report_on
from ..likeness.faces.cache import CachedAnalyser
from ..likeness.faces.face import Face
from ..likeness.picking import numbered
from ..likeness.score_view import score_rows
from ..likeness.scoring import Judge, Score, score_images
from . import host
from .close_up import CloseUp
from .detail_drawing import Painter, shows
from .judging import judge_inputs, judge_of
from .shown import small_copies, with_scores
from .types import CharacterType, ScoresType

OWN, EVERY = "the character's", "every face"


@dataclass(frozen=True)
class Framing:
    """How a face is cut out and put back."""

    every: bool = False  # face of a picture, not the character's alone
    crop_factor: float = 1.5  # heads
    working_size: int = 768  # px
    upscale_limit: float = 8.0
    feather: float = 0.15  # widths of the face
    # Cosine. A harmless change of the face (a resize, JPEG's losses, grain, a tint) loses up to .018, and 95 times of
    # 100 up to .010 (40 photos of 8 people, two recognisers).
    tolerance: float = 0.02


class DetailFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessDetailFace",
            display_name="Detail Face",
            category="likeness/picture",
            description="Draws the character's face anew at a larger size with low denoise, for skin and texture, and "
            "puts it back. A picture whose face would be less alike afterwards stays as it was.",
            search_aliases=["likeness", "face detailer", "adetailer", "face refine", "skin detail", "fix face"],
            has_intermediate_output=True,  # bars are shown again when nothing had to be run
            hidden=[io.Hidden.unique_id],
            inputs=[*_drawing_inputs(), *_framing_inputs(), *judge_inputs()],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        model: Any,
        vae: Any,
        positive: Any,
        negative: Any,
        character: Character,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        faces: str = OWN,
        tolerance: float = Framing.tolerance,
        crop_factor: float = Framing.crop_factor,
        working_size: int = Framing.working_size,
        upscale_limit: float = Framing.upscale_limit,
        feather: float = Framing.feather,
        **judging: Any,
    ) -> io.NodeOutput:
        engine, judge = judge_of(character, **judging)
        painter = Painter(model, vae, positive, negative, seed, steps, cfg, sampler_name, scheduler, denoise)
        framing = Framing(faces == EVERY, crop_factor, working_size, upscale_limit, feather, tolerance)
        refining = Refining(painter, framing, engine, judge, comfy.utils.ProgressBar(max(len(images), 1)))
        out, mask, outcomes = refining.run(images)
        report = report_on(outcomes, [*painter.notes, *judge.notes()], framing.tolerance)
        host.show_text(report, cls.hidden.unique_id)
        scores, before = (tuple(getattr(o, name) for o in outcomes) for name in ("score", "before"))
        shown = with_scores(
            {"text": [report]}, score_rows(scores, before=before), small_copies(out, cls.hidden.unique_id)
        )
        return io.NodeOutput(out, mask, scores, before, report, ui=shown)


@dataclass(frozen=True, repr=False)
class Refining:
    """One run over a batch."""

    painter: Painter
    framing: Framing
    engine: CachedAnalyser
    judge: Judge
    bar: Any  # comfy.utils.ProgressBar: pictures judged, steps drawn, pictures judged again

    def run(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[Outcome]]:
        """The pictures, what was changed [B, H, W], and what to say of each. The input stays as it is."""
        before = self._judged(list(enumerate(images)), self.bar.update_absolute)
        faces = [self._faces(score) for score in before]
        self.bar.total = len(images) + sum(len(each) * self.painter.steps + 1 for each in faces)
        out, masks, outcomes = images.clone(), torch.zeros(images.shape[:3]), []
        done = len(images)
        for i, (score, chosen) in enumerate(zip(before, faces, strict=True)):
            outcome, pixels, mask = self._refined(i, images[i], score, chosen, done)
            if pixels is not None:
                out[i] = torch.from_numpy(pixels).to(out)
                masks[i] = torch.from_numpy(mask)
            outcomes.append(outcome)
            done += len(chosen) * self.painter.steps + 1
            self.bar.update_absolute(done)
        return out, masks, outcomes

    def _judged(self, pictures: Sequence[tuple[int, torch.Tensor]], progress: Any = lambda done: None) -> list[Score]:
        pixels = host.to_pixels([picture for _, picture in pictures])
        named = [(numbered(i), p) for (i, _), p in zip(pictures, pixels, strict=True)]
        return score_images(named, self.engine, self.judge, progress, host.stop_if_interrupted)

    def _faces(self, score: Score) -> list[Face]:
        if score.chosen is None or detail.unchecked(score, self.framing.tolerance):
            return []
        return [f.face for f in score.faces] if self.framing.every else [score.chosen.face]

    def _refined(
        self, index: int, picture: torch.Tensor, before: Score, faces: Sequence[Face], done: int
    ) -> tuple[Outcome, Pixels | None, Mask]:
        """What became of one picture; its new pixels float32 [H, W, C], None where it stays as it was."""
        pixels = picture.detach().float().cpu().numpy()
        changed = np.zeros(pixels.shape[:2], dtype=np.float32)
        if not faces:
            return Outcome(before, (), detail.unchecked(before, self.framing.tolerance)), None, changed
        parts = []
        for number, face in enumerate(faces):
            host.stop_if_interrupted()
            pixels, part = self._with_face(index, pixels, changed, face, done + number * self.painter.steps)
            parts.append(part)
        if not any(part.drawn for part in parts):
            return Outcome(before, tuple(parts), parts[0].reason), None, changed
        (after,) = self._judged([(index, torch.from_numpy(pixels))])
        reason = detail.lost(before, after, self.framing.tolerance)
        return Outcome(before, tuple(parts), reason, after), None if reason else pixels, changed

    def _with_face(self, index: int, pixels: Pixels, changed: Mask, face: Face, done: int) -> tuple[Pixels, Part]:
        """The picture with one face drawn anew, marked in `changed`; or as it was, with the reason."""
        f, size = self.framing, (pixels.shape[1], pixels.shape[0])
        head = detail.head_around(face)
        window = detail.window_around(head, size, f.crop_factor)
        if window is None:
            return pixels, Part(face, None, "the face lies outside the picture")
        drawing = detail.working_size(window, f.working_size, f.upscale_limit, self.painter.multiple)
        if drawing.reason:
            return pixels, Part(face, None, drawing.reason)
        mask = detail.soft_oval_in(window, head, f.feather * face.quality.width)
        crop, opacity = detail.seen(pixels, window)
        close_up = CloseUp(window.shares(size), size, index)
        drawn = self.painter.draw(crop, mask, drawing, close_up, shows(self.bar, done, self.painter.model))
        if not detail.usable(drawn):
            return pixels, Part(face, None, "the model or the VAE gave no numbers; start ComfyUI with --fp32-vae")
        mask = mask * opacity
        changed[window.rows, window.columns] = np.maximum(changed[window.rows, window.columns], mask)
        return detail.pasted(pixels, detail.matched(drawn, crop, mask), mask, window), Part(face, drawing)


def _drawing_inputs() -> list[Any]:
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    return [
        io.Image.Input("images", tooltip="Pictures with the character."),
        io.Model.Input("model", tooltip="The model that draws the character, from Apply Character."),
        io.Vae.Input("vae", tooltip="The VAE of that model."),
        io.Conditioning.Input(
            "positive",
            tooltip="What to draw: best the face alone, from Character Prompt. Masks, areas and ControlNets for the "
            "whole picture are cut to the face.",
        ),
        io.Conditioning.Input("negative", tooltip="What to keep out."),
        CharacterType.Input("character", tooltip="Whose face it is, and whom it must stay like."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            control_after_generate=True,
            tooltip="Every face gets the noise of this seed, so a picture comes out the same alone and in a batch.",
        ),
        io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Sampling steps for each face."),
        io.Float.Input("cfg", default=5.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Guidance scale."),
        io.Combo.Input("sampler_name", options=samplers, default="dpmpp_2m", tooltip="As in KSampler."),
        io.Combo.Input("scheduler", options=schedulers, default="karras", tooltip="As in KSampler."),
        io.Float.Input(
            "denoise",
            default=0.3,
            min=0.05,
            max=1.0,
            step=0.01,
            tooltip="How much is drawn anew. 0.2 to 0.35 gives skin and texture; from about 0.5 on it becomes another "
            "face, and the picture stays as it was.",
        ),
    ]


def _framing_inputs() -> list[Any]:
    return [
        io.Combo.Input(
            "faces",
            options=[OWN, EVERY],
            default=OWN,
            optional=True,
            tooltip="the character's: the face most like it. every face: all of them with the same model and words, "
            "which makes strangers like the character where Apply Character is on.",
        ),
        io.Float.Input(
            "tolerance",
            default=Framing.tolerance,
            min=0.0,
            max=detail.ANY_DROP,
            step=0.01,
            optional=True,
            tooltip="A picture stays as it was where the similarity falls by more than this cosine, or from accepted "
            "to rejected. 2: nothing is checked, and faces that cannot be measured are drawn, too.",
        ),
        io.Float.Input(
            "crop_factor",
            default=Framing.crop_factor,
            min=1.0,
            max=4.0,
            step=0.1,
            optional=True,
            tooltip="Side of the square that the model sees, in heads. More gives it more to go by and the face fewer "
            "pixels.",
        ),
        io.Int.Input(
            "working_size",
            default=Framing.working_size,
            min=256,
            max=2048,
            step=8,
            optional=True,
            tooltip="Longer side at which the square is drawn, in px: 512 to 768 for SD 1.5, 1024 for SDXL and newer. "
            "Larger squares keep their size; from twice this on the picture stays as it was.",
        ),
        io.Float.Input(
            "upscale_limit",
            default=Framing.upscale_limit,
            min=1.0,
            max=16.0,
            step=0.5,
            optional=True,
            advanced=True,
            tooltip="How many times a small face is enlarged at most.",
        ),
        io.Float.Input(
            "feather",
            default=Framing.feather,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Over which length the new face fades into the picture, inside the head's outline, in widths of "
            "the face.",
        ),
    ]


def _outputs() -> list[Any]:
    return [
        io.Image.Output("refined", display_name="images", tooltip="All pictures in order, refined or as they were."),
        io.Mask.Output("mask", display_name="mask", tooltip="What was changed in each picture; 0 where nothing was."),
        ScoresType.Output("SCORES", display_name="scores", tooltip="Scores of the pictures as they come out."),
        ScoresType.Output("BEFORE", display_name="scores before", tooltip="Scores of the pictures as they came in."),
        io.String.Output("report", display_name="report", tooltip="What became of each picture, and why."),
    ]
