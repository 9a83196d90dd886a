"""Do the pack's pictures equal the published mathematics, and IPAdapter_plus's own where it matches it?

    python benchmarks/parity.py [--ipadapter-plus CHECKOUT] [--draws 12] [--seed 0] [--variant "Plus V2"]
                                [--json FILE] [--markdown FILE]

For every variant of FaceID adapter, every control, and random combinations of several: the relative error
||a - b|| / ||b|| of the output of a whole UNet (ComfyUI's own, random weights, true block layout, narrow channels,
float32) against

1. the published mathematics, computed by published.py in float64 without the package, middle block on;
2. what IPAdapter_plus itself renders, with `match_ipadapter_plus` here (its middle block is never reached).

The target is 5e-5 for each. "effect" is how much the face changes the output: a comparison that changed
nothing would prove nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import published
import support
import torch
from cases import Case, comparable, draw, single
from reference_pack import Analyser, RecordedFace, ReferencePack
from support import VARIANTS
from torch import Tensor

TARGET = 5e-5
FACES = 4  # recorded ones; the last is the negative face


@dataclass(frozen=True)
class Row:
    """One case of one variant."""

    variant: str
    case: Case
    published: float  # relative error against the published mathematics; nan where ours was not rendered
    theirs: float | None  # relative error against IPAdapter_plus; None where it was not compared
    effect: float  # relative change that the face makes
    note: str = ""  # why there is no number

    @property
    def failed(self) -> bool:
        return not self.published <= TARGET or (self.theirs is not None and not self.theirs <= TARGET)


class Bench:
    """One variant: a small random UNet, an adapter, an image encoder, recorded faces."""

    def __init__(self, name: str, vision: Any, pack: ReferencePack | None, folder: Path):
        import comfy_unet

        self.name, self.variant, self.vision, self.pack = name, VARIANTS[name], vision, pack
        self.flat = support.state_dict(name)
        self.model = comfy_unet.small_model(self.variant.family)
        self.analyser = Analyser([recorded(n) for n in range(FACES)])
        self.tokens = published.Tokens(self.flat, self.variant.shortcut)
        self.their_adapter = pack.load(support.write_adapter(name, folder)) if pack else None
        self._known: dict[tuple[Any, ...], Any] = {}
        self.negative = torch.rand(1, 224, 224, 3, generator=torch.Generator().manual_seed(99))

    def compare(self, case: Case) -> Row:
        plain, expected = self.run(self.model, case), self.run(self.by_formula(case), case)
        effect = relative(plain, expected)
        try:
            ours = relative(self.run(self.ours(case), case), expected)
        except Exception as error:  # a refusal is a finding, not the end of the table
            return Row(self.name, case, float("nan"), None, effect, f"{type(error).__name__}: {error}")
        why = case.why_not_theirs(self.variant.plus) if self.pack else "no checkout was given"
        if why:
            return Row(self.name, case, ours, None, effect, why)
        matched = self.run(self.ours(case, match_ipadapter_plus=True), case)
        return Row(self.name, case, ours, relative(matched, self.run(self.theirs(case), case)), effect)

    # ---- three ways to put the same face on the same model

    def ours(self, case: Case, **more: Any) -> Any:
        from comfy.ldm.modules.attention import optimized_attention

        faceid, model = support.package("faceid"), self.model
        for one in (case, *case.others):
            controls = faceid.Controls(weight_v2=one.weight_v2, **one.controls, **more)
            compiled, mask = self._compiled(one), one.mask_tensor()
            model = faceid.apply_identity(model, compiled, controls, mask=mask, attention=optimized_attention)
        return model

    def _compiled(self, case: Case) -> Any:
        """What the character's folder would hold: made once, whatever the strengths are."""
        faceid = support.package("faceid")
        key = (case.numbers, case.combine, case.face_weights, case.negative, case.stored)
        if key not in self._known:
            used = faceid.combine(self._inputs(case.numbers), case.face_weights or None, case.combine)
            frames = case.combine == "per image"
            tokens = faceid.identity_tokens(self._adapter, used, self._uncond(case), frames=frames)
            made = faceid.compile_identity(self._adapter, tokens, identity="parity", combine=case.combine)
            self._known[key] = faceid.from_bytes(faceid.to_bytes(made, case.stored)) if case.stored else made
        return self._known[key]

    def by_formula(self, case: Case) -> Any:
        acts = [
            published.Act(self._published_face(one), one, published.window(self.model, one))
            for one in (case, *case.others)
        ]
        return published.patched(self.model, self.flat, acts, self.variant.family)

    def _published_face(self, case: Case) -> published.Face:
        embeddings, hidden = self._embeddings(case.numbers), self._hidden(case.numbers)
        faces = published.combined(embeddings, case.combine, case.face_weights).float()
        views = None if hidden is None else published.combined(hidden, case.combine, case.face_weights).float()
        cond = [self._tokens(faces, views, i, case) for i in range(len(faces))]
        nobody, empty = self._nobody(case)
        uncond = self._tokens(nobody, empty, 0, case)
        if case.combine == "per image":
            return published.Face(cond, [uncond], 1)
        return published.Face([torch.cat(cond)], [torch.cat([uncond] * len(cond))], len(cond))

    def theirs(self, case: Case) -> Any:
        model = self.model
        for one in (case, *case.others):
            model = self._their_node(model, one)
        return model

    def _their_node(self, model: Any, case: Case) -> Any:
        assert self.pack is not None
        c = dict(case.controls)
        weight, frames = c.pop("weight", 1.0), c.pop("frame_weights", ())
        layers = ",".join(f"{t}:{w!r}" for t, w in c.pop("layer_weights", ()))
        if case.negative == "picture":
            c["image_negative"] = self.negative
        if (mask := case.mask_tensor()) is not None:
            c["attn_mask"] = mask.clone()
        return self.pack.apply(
            model,
            self.their_adapter,
            self.vision,
            self.analyser,
            numbers=case.numbers,
            per_image=case.frames,
            weight=[weight * f for f in frames] if frames else weight,
            weight_faceidv2=case.weight_v2,
            combine_embeds="average" if case.faces == 1 and case.combine != "subtract" else case.combine,
            layer_weights=layers or None,
            start_at=c.pop("start", 0.0),
            end_at=c.pop("end", 1.0),
            **c,
        )

    # ---- inputs

    def run(self, model: Any, case: Case) -> Tensor:
        """The UNet's output for the case, float32 [B, 4, h, w]."""
        from comfy_unet import Call

        sigma = float(self.model.get_model_object("model_sampling").percent_to_sigma(case.percent))
        call = Call(self.variant.family, len(case.order), case.images, sigma=sigma)
        generator = torch.Generator().manual_seed(11)
        call.x = torch.randn(len(call.x), 4, *case.size, generator=generator)
        window = {"ad_params": {"sub_idxs": list(case.window), "full_length": 4}} if case.window else {}
        return call.run(model, list(case.order), **window)

    @cached_property
    def _adapter(self) -> Any:
        return support.package("faceid").read_adapter(self.flat, name=self.variant.file)

    def _embeddings(self, numbers: Sequence[int]) -> Tensor:
        """float32 [N, 512]"""
        faces = [self.analyser.faces[n] for n in numbers]
        return torch.stack([torch.from_numpy(f.raw if self.variant.raw else f.normed) for f in faces])

    def _hidden(self, numbers: Sequence[int]) -> Tensor | None:
        """float32 [N, 257, 1280] of the crops, None where the adapter reads no picture"""
        return torch.cat([self._views[n] for n in numbers]) if self.variant.plus else None

    @cached_property
    def _views(self) -> list[Tensor]:
        """Of every recorded face, then of a black picture and of the negative image; float32 [1, 257, 1280] each."""
        crops = [torch.from_numpy(f.crops[self.variant.crop] / 255.0).float()[None] for f in self.analyser.faces]
        return [self._penultimate(x) for x in (*crops, torch.zeros(1, 224, 224, 3), self.negative)]

    @torch.no_grad()
    def _penultimate(self, picture: Tensor) -> Tensor:
        from comfy.clip_model import clip_preprocess

        return self.vision.model(pixel_values=clip_preprocess(picture), intermediate_output=-2)[1].float()

    def _nobody(self, case: Case) -> tuple[Tensor, Tensor | None]:
        """Embedding [1, 512] and hidden states [1, 257, 1280] or None of the uncond rows."""
        if case.negative == "face":
            return self._embeddings([FACES - 1]), self._hidden([FACES - 1])
        views = self._views[FACES + (case.negative == "picture")] if self.variant.plus else None
        return torch.zeros(1, 512), views

    def _inputs(self, numbers: Sequence[int]) -> Any:
        return support.package("faceid").FaceInputs(self._embeddings(numbers), self._hidden(numbers))

    def _uncond(self, case: Case) -> Any:
        if not self.variant.plus and case.negative != "face":
            return None
        return support.package("faceid").FaceInputs(*self._nobody(case))

    def _tokens(self, faces: Tensor, views: Tensor | None, i: int, case: Case) -> Tensor:
        return self.tokens.of(faces[i], None if views is None else views[i], case.weight_v2)


def recorded(number: int) -> RecordedFace:
    """A face that nobody has: a random direction about as long as a recogniser's, crops of noise."""
    import random_adapter

    raw = random_adapter.embedding(number)[0].numpy() * (17.0 + 2 * number)
    crops = {}
    for size in (224, 256):
        values = random_adapter.uniform(31 * number + size, size * size * 3).reshape(size, size, 3)
        crops[size] = ((values + 1) * 127.5).astype("uint8")
    return RecordedFace(raw, crops)


def relative(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||"""
    return float((a.double() - b.double()).norm() / b.double().norm())


def cases_of(name: str, draws: int, seed: int) -> Iterator[Case]:
    """Every control alone, then draws; each draw that IPAdapter_plus cannot do also as the nearest that it can."""
    variant = VARIANTS[name]
    yield from single(variant.family, variant.plus)
    for n in range(draws):
        case = draw(n, seed, variant.family, variant.plus)
        yield case
        near = comparable(case)
        if near != case:
            yield Case(**{**vars(near), "name": case.name + ", as it can"})


def compare_all(
    names: Sequence[str], pack: ReferencePack | None, draws: int, seed: int, say: Callable[[str], object] = print
) -> list[Row]:
    rows: list[Row] = []
    vision = support.random_vision()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            begun, bench = time.perf_counter(), Bench(name, vision, pack, Path(folder))
            mine = [bench.compare(case) for case in cases_of(name, draws, seed)]
            rows += mine
            worst = max((r.published for r in mine), key=_nan_last)
            their = [r.theirs for r in mine if r.theirs is not None]
            say(
                f"{name:22} {len(mine):3} cases, against the formulas {worst:.1e} at worst; "
                + (f"{len(their)} against IPAdapter_plus, {max(their):.1e} at worst; " if their else "")
                + f"{time.perf_counter() - begun:.0f} s"
            )
    return rows


def _nan_last(x: float) -> float:
    return float("inf") if x != x else x


def markdown(rows: Sequence[Row]) -> str:
    """A row for every case, a column for every variant: error against the formulas / against IPAdapter_plus."""
    names = list(dict.fromkeys(r.variant for r in rows))
    cells = {(r.case.name, r.variant): f"{_short(r.published)} / {_short(r.theirs)}" for r in rows}
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case in dict.fromkeys(r.case.name for r in rows):
        lines.append(f"| {case} | " + " | ".join(cells.get((case, name), "") for name in names) + " |")
    return "\n".join(lines) + "\n"


def _short(x: float | None) -> str:
    return "–" if x is None else "refused" if x != x else f"**{x:.0e}**" if x > TARGET else f"{x:.0e}"


def main() -> None:
    parser = support.arguments(str(__doc__))
    parser.add_argument("--draws", type=int, default=12, help="random combinations for each variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", default="", help="only variants whose name contains this, e.g. 'Plus V2'")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    support.comfyui()
    pack = ReferencePack(Path(options.ipadapter_plus)) if options.ipadapter_plus else None
    names = [name for name in VARIANTS if options.variant.lower() in name.lower()]
    rows = compare_all(names, pack, options.draws, options.seed)
    for row in (r for r in rows if r.failed):
        print(f"FAILED {row.variant}, {row.case.name}: {_short(row.published)} / {_short(row.theirs)} {row.note}")
    compared = [r.theirs for r in rows if r.theirs is not None]
    failed, idle = sum(row.failed for row in rows), sum(row.effect < 20 * TARGET for row in rows)
    print(f"In {idle} cases the face is outside of its window and changes nothing.")
    print(f"{len(rows)} cases against the formulas, {len(compared)} against IPAdapter_plus, {failed} failed")
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    numbers = [{**asdict(r), "case": asdict(r.case)} for r in rows]
    support.write_json(options.json, {**support.machine(), "target": TARGET, "rows": numbers})
    sys.exit(any(r.failed for r in rows))


if __name__ == "__main__":
    main()
