"""Best of N: the graph between Seed and the pictures once more with the next seed, until enough are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder, is_link

from ..likeness.best_of import BestOf, next_seed
from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.faces.face import Analyser
from ..likeness.picking import as_text
from ..likeness.score_view import MOST, Shown
from ..likeness.scoring import Judge, score_images, unreadable
from . import host
from .judging import judge_inputs, judge_of
from .replay import Link, dependents, replay
from .selection import BLOCK, PASS, PLACEHOLDER, blocked, grey, when_empty_input
from .shown import small_copies, with_scores
from .types import CharacterType, ScoresType

_ID, _STEP, _SEED = "LikenessBestOfN", "LikenessBestOfNStep", "LikenessSeed"
_WIRING = "add a Seed node and connect it both to the sampler's seed and to the seed of Best of N"


@dataclass(frozen=True, repr=False)
class Run:
    """One run of Best of N. Passed on inside the graph."""

    best: BestOf[torch.Tensor]  # pictures float32 [H, W, C]
    nodes: Any  # comfy_execution.graph.DynamicPrompt
    node_id: str  # of Best of N, where progress is shown
    source: str  # id of the Seed node
    link: Link  # to the first attempt's pictures
    seed: int  # of the first attempt
    engine: Analyser
    judge: Judge
    when_empty: str

    def advance(self, batches: Sequence[torch.Tensor]) -> io.NodeOutput:
        """Score one attempt's pictures; then the next attempt as an expansion of the graph, or the outcome."""
        seed = next_seed(self.seed, self.best.attempts)
        pictures = [picture for batch in batches for picture in batch]
        named = [(_name(seed, i), p) for i, p in enumerate(host.to_pixels(pictures))]
        show = host.progress(self.best.limit)
        scores = score_images(
            named, self.engine, self.judge, lambda done: show(self.best.attempts), host.stop_if_interrupted
        )
        best = self.best.add(seed, [(s, p.cpu().clone()) for s, p in zip(scores, pictures, strict=True)])
        _check_sizes([k.picture for k in best.kept])
        show(best.attempts)
        host.show_text(best.report(), self.node_id)
        later = replace(self, best=best)
        return later.outcome(batches[0]) if best.done else later.expansion()

    def expansion(self) -> io.NodeOutput:
        """The next attempt alone, so that no picture is drawn that may not be needed."""
        builder = GraphBuilder()
        changes = {"seed": next_seed(self.seed, self.best.attempts)}
        pictures = replay(self.nodes, self.source, self.link, changes, builder)
        then = builder.node(_STEP, run=self, images=pictures)
        return io.NodeOutput(*(then.out(i) for i in range(len(_outputs()))), expand=builder.finalize())

    def outcome(self, like: torch.Tensor) -> io.NodeOutput:
        """The best pictures; `like` has the size of a picture, for a placeholder."""
        chosen = self.best.chosen(only_accepted=self.when_empty != PASS)
        scores = tuple(k.score for k in chosen)
        images = torch.stack([k.picture for k in chosen]) if chosen else blocked()
        if not chosen and self.when_empty == PLACEHOLDER:
            images = grey(like, f"Best of N: {self.best.outcome()}")
            scores = (unreadable("placeholder", "no picture was accepted"),)
        later = next_seed(self.seed, self.best.attempts)
        more = [f"Seed {later} goes on after these."] if self.best.accepted < self.best.wanted else []
        report = "\n".join([self.best.report(), *more, *self.judge.notes()])
        out = (images, as_text([k.seed for k in chosen]), scores, self.best.attempts, report)
        return io.NodeOutput(
            *out, ui=with_scores({"text": [report]}, *self._rows([k.score.name for k in chosen], images))
        )

    def _rows(self, kept: list[str], images: Any) -> tuple[list[Shown], list[Any]]:
        """Every picture drawn; only those that are kept can be shown."""
        rows = [{**row, "picked": row["name"] in kept} for row in self.best.rows[:MOST]]
        copies = dict(zip(kept, small_copies(images, self.node_id) if kept else (), strict=False))
        return rows, [copies.get(str(row["name"])) for row in rows]


def _name(seed: int, index: int) -> str:
    return f"seed {seed}" if index == 0 else f"seed {seed}, picture {index + 1}"


def _check_sizes(pictures: Sequence[torch.Tensor]) -> None:
    """LikenessError as soon as two differ, before more is drawn in vain."""
    if len({p.shape for p in pictures}) > 1:
        sizes = ", ".join(sorted({f"{p.shape[1]} x {p.shape[0]}" for p in pictures}))
        raise LikenessError(f"The attempts differ in size ({sizes}), so they are no batch: fix the size in the graph.")


def seed_node(nodes: Any, node_id: str) -> tuple[str, Link]:
    """Id of the Seed node and the link to the pictures of a Best of N node. LikenessError where it is not wired."""
    inputs = nodes.get_node(node_id)["inputs"]
    seed, images = inputs.get("seed"), inputs.get("images")
    if not is_link(seed) or nodes.get_node(seed[0])["class_type"] != _SEED:
        raise LikenessError(f"The seed of Best of N does not come from a Seed node: {_WIRING}.")
    if not dependents(nodes, seed[0], images):
        raise LikenessError(f"The pictures do not depend on the Seed node, so all would be alike: {_WIRING}.")
    return seed[0], images


class BestOfN(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=_ID,
            display_name="Best of N",
            category="likeness/score",
            description="Draws the graph between Seed and the pictures again with the next seeds until enough pictures "
            "are accepted or the limit is reached, and gives the best. Works with any graph in between.",
            search_aliases=["likeness", "best of n", "retry until accepted", "loop seeds", "reroll", "auto retry"],
            is_input_list=True,
            enable_expand=True,
            has_intermediate_output=True,  # bars are shown again when nothing had to be run
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        images: list[torch.Tensor],
        seed: list[int],
        character: list[Character],
        wanted: list[int],
        limit: list[int],
        avoid_copies: Sequence[bool] = (False,),
        when_empty: Sequence[str] = (BLOCK,),
        **judging: list[Any],
    ) -> io.NodeOutput:
        nodes, node_id = cls.hidden.dynprompt, cls.hidden.unique_id
        source, link = seed_node(nodes, node_id)
        engine, judge = judge_of(character[0], **{name: values[0] for name, values in judging.items()})
        best: BestOf[torch.Tensor] = BestOf(wanted[0], limit[0], avoid_copies[0])
        return Run(best, nodes, node_id, source, link, seed[0], engine, judge, when_empty[0]).advance(images)


class BestOfNStep(io.ComfyNode):
    """One further attempt, scored."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=_STEP,
            display_name="Best of N Step (internal)",
            category="likeness/score",
            description="A part of Best of N, which adds it to the graph; it does nothing by itself.",
            search_aliases=["likeness"],
            is_input_list=True,
            is_dev_only=True,
            enable_expand=True,
            inputs=[
                io.Custom("LIKENESS_BEST_OF").Input("run", tooltip="The attempts so far."),
                io.Image.Input("images", tooltip="The pictures of one more attempt."),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, run: list[Run], images: list[torch.Tensor]) -> io.NodeOutput:
        if not isinstance(run[0], Run):
            raise LikenessError("Best of N Step is a part of Best of N, which adds it by itself: use Best of N.")
        return run[0].advance(images)


def _inputs() -> list[Any]:
    return [
        io.Image.Input("images", tooltip="The pictures of the first attempt, drawn with the Seed node's seed."),
        io.Int.Input("seed", force_input=True, tooltip="From the Seed node that the sampler's seed comes from."),
        CharacterType.Input("character", tooltip="Whom the pictures should show."),
        io.Int.Input("wanted", default=1, min=1, max=64, tooltip="How many accepted pictures are enough."),
        io.Int.Input(
            "limit",
            default=8,
            min=1,
            max=100,
            tooltip="How many attempts at most, the first one included. An attempt may draw several pictures. ComfyUI "
            "may hold the pictures of all of them until the prompt ends: float32, 12 MB each at 1024 x 1024, so 100 "
            "take 1.2 GB of memory.",
        ),
        io.Boolean.Input(
            "avoid_copies",
            default=False,
            optional=True,
            tooltip="Put pictures that may be a copy of a reference last among the accepted.",
        ),
        when_empty_input(" pass the best also fills up with refused pictures where some were accepted, but too few."),
        *judge_inputs(),
    ]


def _outputs() -> list[Any]:
    return [
        io.Image.Output(
            "best", display_name="best", tooltip="The best pictures, best first; at most as many as wanted."
        ),
        io.String.Output("seeds", display_name="seeds", tooltip='Their seeds, for example "5,7".'),
        ScoresType.Output("SCORES", display_name="scores", tooltip="Their scores, in the same order."),
        io.Int.Output("attempts", display_name="attempts", tooltip="How many times was drawn, the first included."),
        io.String.Output("report", display_name="report", tooltip="The outcome, and one line per picture drawn."),
    ]
