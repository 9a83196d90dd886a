"""Gate and Pick Best on tensors, in this process."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ..conftest import ROOT, load_folder
from ..fakes import make_face

NAMES = (
    "nodes.gate",
    "nodes.pick_best",
    "nodes.best_of_n",
    "nodes.selection",
    "likeness.best_of",
    "likeness.scoring",
    "likeness.errors",
    "nodes.host",
)
BLOCK, PASS, PLACEHOLDER = "block downstream", "pass the best", "placeholder"
MIXED = (0.2, 0.8, None, 0.6, 0.3)  # similarity of each picture; accepted from 0.5 on, None: no face


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_gate_pack", ROOT)
    return SimpleNamespace(**{n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_gate_pack.{n}") for n in NAMES})


def scores(pack: SimpleNamespace, similarities: tuple[float | None, ...]) -> tuple[Any, ...]:
    def one(similarity: float | None) -> Any:
        if similarity is None:
            return pack.scoring.unreadable("picture", "no face was found in the picture")
        verdict = "accepted" if similarity >= 0.5 else "rejected"
        chosen = pack.scoring.FaceScore(make_face(1), similarity, "1.png", similarity, verdict, "")
        return pack.scoring.Score("picture", verdict, "", (chosen,), chosen)

    return tuple(map(one, similarities))


def batch(count: int) -> torch.Tensor:
    """Pictures of which each has its index as value."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 40, 56, 3) / 10


def run(node: Any, **inputs: Any) -> dict[str, Any]:
    """Outputs by id. What the node says stays in the history, too."""
    out = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(**inputs)
    named = {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, out.args, strict=True)}
    assert out.ui["text"] == [named["report"]] and len(out.ui["likeness_scores"]) == len(inputs["scores"])
    return named


def gate(pack: SimpleNamespace, similarities: tuple[float | None, ...], **options: Any) -> dict[str, Any]:
    given = {"images": batch(len(similarities)), "scores": scores(pack, similarities), **options}
    return run(pack.gate.LikenessGate, **given)


def which(images: torch.Tensor) -> list[int]:
    return [round(float(v) * 10) for v in images[:, 0, 0, 0]]


def is_blocked(value: Any) -> bool:
    return type(value).__name__ == "ExecutionBlocker" and value.message is None


def test_the_gate_splits_pictures_and_counts_them(pack: SimpleNamespace) -> None:
    out = gate(pack, MIXED)
    parts = [which(out[name]) for name in ("accepted", "rejected", "not_measurable")]
    assert parts == [[1, 3], [0, 4], [2]]
    assert [out[f"{n}_indices"] for n in ("accepted", "rejected", "not_measurable")] == ["1,3", "0,4", "2"]
    assert [out[f"{n}_count"] for n in ("accepted", "rejected", "not_measurable")] == [2, 2, 1]
    assert out["report"].splitlines()[0] == "2 accepted, 2 rejected, 1 not measurable"


def test_latents_and_masks_are_split_with_the_pictures(pack: SimpleNamespace) -> None:
    samples = torch.arange(5.0)[:, None, None, None].expand(5, 4, 5, 7)
    latents = {"samples": samples, "noise_mask": samples[:, :1], "batch_index": [5, 6, 7, 8, 9], "other": "kept"}
    out = gate(pack, MIXED, latents=latents, masks=batch(5)[..., 0])
    assert out["accepted_latents"]["samples"][:, 0, 0, 0].tolist() == [1, 3]
    assert out["accepted_latents"]["noise_mask"][:, 0, 0, 0].tolist() == [1, 3]
    assert out["accepted_latents"]["batch_index"] == [6, 8] and out["accepted_latents"]["other"] == "kept"
    assert len(latents["samples"]) == 5, "the input stays as it is"
    assert out["rejected_masks"].shape == (2, 40, 56) and out["not_measurable_masks"].shape == (1, 40, 56)


def test_a_noise_mask_for_all_pictures_stays_whole(pack: SimpleNamespace) -> None:
    latents = {"samples": torch.zeros(5, 4, 5, 7), "noise_mask": torch.zeros(1, 1, 40, 56)}
    assert gate(pack, MIXED, latents=latents)["accepted_latents"]["noise_mask"].shape == (1, 1, 40, 56)


def samples(count: int) -> torch.Tensor:
    """Latents of which each has its index as value."""
    return torch.arange(float(count))[:, None, None, None].expand(count, 4, 5, 7)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("places", [None, [9, 8, 7, 6, 5]])
def test_latents_are_taken_as_comfyui_itself_takes_them(
    pack: SimpleNamespace, count: int, places: list[int] | None
) -> None:
    import nodes as core

    latents = {"samples": samples(5), "noise_mask": torch.arange(float(count))[:, None, None, None] * torch.ones(8, 8)}
    latents |= {} if places is None else {"batch_index": places}
    for similarities, index in (((0.1, 0.1, 0.1, 0.8, 0.1), 3), ((0.8, 0.1, 0.1, 0.1, 0.1), 0)):
        ours = gate(pack, similarities, latents=latents)["accepted_latents"]
        (theirs,) = core.LatentFromBatch().frombatch(latents, index, 1)
        assert ours["batch_index"] == theirs["batch_index"]
        assert torch.equal(ours["samples"], theirs["samples"])
        assert torch.equal(ours["noise_mask"], theirs["noise_mask"])


def test_a_short_noise_mask_repeats_in_the_order_of_the_best(pack: SimpleNamespace) -> None:
    mask = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    out = pick(pack, MIXED, k=3, latents={"samples": samples(5), "noise_mask": mask})
    assert out["best_latents"]["batch_index"] == [1, 3, 4]
    assert out["best_latents"]["noise_mask"].mean(dim=(1, 2, 3)).tolist() == [1, 1, 0]


def test_a_noise_mask_without_a_batch_is_for_all_pictures(pack: SimpleNamespace) -> None:
    flat = {"samples": torch.zeros(5, 4, 5, 7), "noise_mask": torch.zeros(5, 8)}
    video = {"samples": torch.zeros(5, 4, 3, 5, 7), "noise_mask": torch.zeros(3, 1, 5, 7)}
    for latents in (flat, video):
        assert gate(pack, MIXED, latents=latents)["accepted_latents"]["noise_mask"] is latents["noise_mask"]


@pytest.mark.parametrize("when_empty", [BLOCK, PASS, PLACEHOLDER])
def test_an_empty_batch_is_no_error(pack: SimpleNamespace, when_empty: str) -> None:
    given = {
        "images": torch.zeros(0, 40, 56, 3),
        "scores": (),
        "when_empty": when_empty,
        "latents": {"samples": torch.zeros(0, 4, 5, 7), "noise_mask": torch.zeros(0, 1, 5, 7), "batch_index": []},
    }
    gated = run(pack.gate.LikenessGate, masks=torch.zeros(0, 40, 56), **given)
    picked = run(pack.pick_best.PickBest, **given)
    assert gated["accepted_count"] == 0 and gated["accepted_indices"] == picked["indices"] == ""
    for out, name in ((gated, "accepted"), (gated, "rejected"), (gated, "not_measurable"), (picked, "best")):
        if when_empty != PLACEHOLDER:
            assert is_blocked(out[name]) and is_blocked(out[f"{name}_latents"])
            continue
        assert out[name].shape == (1, 40, 56, 3) and out[f"{name}_latents"]["samples"].shape == (1, 4, 5, 7)
    if when_empty == PLACEHOLDER:
        assert gated["accepted_masks"].shape == (1, 40, 56)
    then = "a grey picture stands for it" if when_empty == PLACEHOLDER else "does not run"
    assert then in gated["report"]


def test_an_empty_output_is_blocked_and_the_others_are_not(pack: SimpleNamespace) -> None:
    out = gate(pack, (0.2, 0.3), latents={"samples": torch.zeros(2, 4, 5, 7)}, masks=batch(2)[..., 0])
    assert all(is_blocked(out[name]) for name in ("accepted", "accepted_latents", "accepted_masks", "not_measurable"))
    assert which(out["rejected"]) == [0, 1] and out["accepted_count"] == 0 and out["accepted_indices"] == ""
    assert "No picture was accepted" in out["report"]


def test_the_best_can_pass_and_the_report_says_that_it_was_refused(pack: SimpleNamespace) -> None:
    out = gate(pack, (0.2, None, 0.3), when_empty=PASS, masks=batch(3)[..., 0])
    assert which(out["accepted"]) == [2] and out["accepted_indices"] == "2" and len(out["accepted_masks"]) == 1
    assert which(out["rejected"]) == [0] and out["rejected_indices"] == "0", "a picture is in one output only"
    assert (out["accepted_count"], out["rejected_count"]) == (0, 2), "it counts as what it is"
    assert "the best one, image 3 (index 2), was passed although it is rejected" in out["report"]
    out = gate(pack, (None, None), when_empty=PASS)
    assert which(out["accepted"]) == [0] and is_blocked(out["rejected"]) and which(out["not_measurable"]) == [1]
    assert "although it is not measurable" in out["report"]
    out = gate(pack, (0.2,), when_empty=PASS, latents={"samples": torch.zeros(1, 4, 5, 7)}, masks=batch(1)[..., 0])
    assert all(is_blocked(out[f"rejected{kind}"]) for kind in ("", "_latents", "_masks"))
    assert (out["accepted_indices"], out["rejected_indices"], out["rejected_count"]) == ("0", "", 1)


def test_a_placeholder_has_the_size_of_the_pictures(pack: SimpleNamespace) -> None:
    latents = {"samples": torch.ones(2, 4, 5, 7), "batch_index": [3, 4]}
    out = gate(pack, (0.2, 0.3), when_empty=PLACEHOLDER, latents=latents, masks=batch(2)[..., 0])
    assert out["accepted"].shape == (1, 40, 56, 3) and out["accepted"].dtype == torch.float32
    assert float(out["accepted"][0, 0, 0, 0]) == pytest.approx(128 / 255)
    assert out["accepted_count"] == 0 and out["accepted_indices"] == ""
    assert out["accepted_latents"]["samples"].shape == (1, 4, 5, 7) and not out["accepted_latents"]["samples"].any()
    assert out["accepted_masks"].shape == (1, 40, 56) and not out["accepted_masks"].any()


def test_another_threshold_decides_anew_and_not_measurable_stays(pack: SimpleNamespace) -> None:
    out = gate(pack, MIXED, threshold=0.25)
    assert out["accepted_indices"] == "1,3,4" and out["not_measurable_indices"] == "2"
    assert "here accepted" in out["report"].splitlines()[-1]
    assert gate(pack, MIXED, threshold=0.7)["accepted_indices"] == "1"


@pytest.mark.parametrize("extra", [{"latents": {"samples": torch.zeros(3, 4, 5, 7)}}, {"masks": torch.zeros(3, 8, 8)}])
def test_what_does_not_fit_the_pictures_is_named(pack: SimpleNamespace, extra: dict[str, Any]) -> None:
    (name,) = extra
    with pytest.raises(pack.errors.LikenessError, match=f"5 pictures but 3 {name}"):
        gate(pack, MIXED, **extra)
    with pytest.raises(pack.errors.LikenessError, match="4 pictures but 5 scores"):
        gate(pack, MIXED, images=batch(4))


def test_an_output_without_its_input_tells_the_node_that_uses_it(pack: SimpleNamespace) -> None:
    out = gate(pack, MIXED)
    assert "connect its latents input" in out["accepted_latents"].message
    assert "connect its masks input" in out["rejected_masks"].message


def test_pictures_are_counted_from_one_and_outputs_from_zero(pack: SimpleNamespace) -> None:
    out = gate(pack, MIXED)
    starts = [line.split(":")[0] for line in out["report"].splitlines()[1:]]
    assert starts == [f"image {i + 1} (index {i})" for i in range(5)] and out["accepted_indices"] == "1,3"
    assert pick(pack, MIXED)["report"].startswith("image 2 (index 1): accepted")
    assert pick(pack, MIXED)["indices"] == "1"


def test_the_counts_say_in_words_what_they_do(pack: SimpleNamespace) -> None:
    """A picture that passes as the best keeps its own verdict in the counts, and only the accepted output has it."""
    told = {output.id: output.tooltip for output in pack.gate.LikenessGate.GET_SCHEMA().outputs}
    for name in ("accepted", "rejected", "not_measurable"):
        assert "the picture that passes still counts by its own verdict" in told[f"{name}_count"]
    assert "pass the best gives the best of the others" in told["accepted"]
    assert "is in the accepted output instead" in told["rejected"] and "instead" in told["not_measurable"]
    assert not any("does not count" in text for text in told.values())


def test_what_best_of_n_found_stays_in_the_history(pack: SimpleNamespace) -> None:
    best = pack.best_of.BestOf(1, 1).add(7, [(scores(pack, (0.8,))[0], torch.zeros(8, 8, 3))])
    judge = SimpleNamespace(notes=lambda: ["Accepted from 0.500 on."])
    ran = pack.best_of_n.Run(best, None, "", "1", ["2", 0], 7, None, judge, BLOCK).outcome(torch.zeros(1, 8, 8, 3))
    assert ran.ui["text"] == [ran.args[4]] and "1 accepted after 1 attempt" in ran.args[4]
    assert [(row["similarity"], row["picked"]) for row in ran.ui["likeness_scores"]] == [(0.8, True)]


def pick(pack: SimpleNamespace, similarities: tuple[float | None, ...], **options: Any) -> dict[str, Any]:
    given = {"images": batch(len(similarities)), "scores": scores(pack, similarities), **options}
    return run(pack.pick_best.PickBest, **given)


def test_the_best_come_first_with_their_latents(pack: SimpleNamespace) -> None:
    samples = torch.arange(5.0)[:, None, None, None].expand(5, 4, 5, 7)
    out = pick(pack, MIXED, k=3, latents={"samples": samples})
    assert which(out["best"]) == [1, 3, 4] and out["indices"] == "1,3,4" and out["similarity"] == 0.8
    assert out["best_latents"]["samples"][:, 0, 0, 0].tolist() == [1, 3, 4]
    assert pick(pack, MIXED, k=9)["indices"] == "1,3,4,0", "what was not measured is not picked"
    assert pick(pack, MIXED, k=9, among="accepted")["indices"] == "1,3"


def test_nothing_to_pick_from_is_no_error(pack: SimpleNamespace) -> None:
    out = pick(pack, (None, None))
    assert is_blocked(out["best"]) and out["indices"] == "" and math.isnan(out["similarity"])
    out = pick(pack, (None, None), when_empty=PASS)
    assert which(out["best"]) == [0] and "No picture is measurable. The best of the others" in out["report"]
    assert pick(pack, (0.2,), among="accepted", when_empty=PLACEHOLDER)["best"].shape == (1, 40, 56, 3)
    with pytest.raises(pack.errors.LikenessError, match="2 pictures but 1 scores"):
        pick(pack, (0.2,), images=batch(2))
