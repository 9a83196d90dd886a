"""Which of two ways to draw a character is better, and what the profile makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from likeness.compare import (
    RULE,
    Circumstances,
    Outcome,
    candidate_of,
    check_pairs,
    compare,
    drawn_by,
    mcnemar,
    newest_waiting,
    pairs,
    settle,
)
from likeness.errors import LibraryError, LikenessError
from likeness.library import Library
from likeness.lora_versions import activate
from likeness.profile import BaseSettings, LoraVersion, Profile, Strengths
from likeness.profile_toml import emit, parse
from likeness.scoring import FaceScore, Score, unreadable

from ..fakes import make_face

YES, NO, NONE, COPY = 0.8, 0.2, None, "copy"  # accepted, rejected, not measurable, an accepted copy of a reference


def score(kind: float | str | None) -> Score:
    if kind is None:
        return unreadable("picture", "no face was found in the picture")
    similarity = YES if kind == COPY else float(kind)
    verdict = "accepted" if similarity >= 0.5 else "rejected"
    face = FaceScore(make_face(1), similarity, "1.png", similarity, verdict, "", copy=kind == COPY)
    return Score("picture", verdict, "", (face,), face)


def outcome(present: Sequence[float | str | None], candidate: Sequence[float | str | None]) -> Outcome:
    return compare([score(k) for k in present], [score(k) for k in candidate])


# ---- the verdict


@pytest.mark.parametrize(
    ("present", "candidate", "why"),
    [
        ([YES, NO, NO], [YES, YES, NO], ""),
        ([YES, NO, NO], [YES, NO, NO], "the same"),
        ([NO, YES, NO], [YES, NO, NO], "the same"),
        ([YES, YES, NO], [YES, NO, NO], "lower"),
        ([NO, NO], [NONE, NONE], "none of its pictures could be measured"),
        ([NONE, NONE], [YES, YES], "none of the present pictures could be measured"),
        ([NONE, NONE], [NONE, NONE], "none of its pictures could be measured"),
        ([YES, YES, YES, NO], [YES, NONE, NONE, NONE], "1 of its pictures are accepted and no copy, against 3"),
        ([YES, YES, NO, NO], [COPY, COPY, COPY, COPY], "0 of its pictures are accepted and no copy, against 2"),
        ([YES, YES, NO, NONE], [YES, YES, NONE, NONE], "2 of its pictures are accepted and no copy, against 2"),
        ([YES, NO, NO, NO], [YES, NONE, NONE, NONE], "1 of its pictures are accepted and no copy, against 1"),
        ([NO, NO, NO, NO], [COPY, COPY, COPY, COPY], "0 of its pictures are accepted and no copy, against 0"),
        ([YES, NO, NO, NONE], [YES, YES, NONE, NONE], ""),
        ([COPY, COPY, NO], [YES, YES, YES], ""),
        ([NO], [YES], ""),
    ],
)
def test_a_version_takes_over_by_a_higher_rate_and_more_good_pictures(
    present: list[Any], candidate: list[Any], why: str
) -> None:
    found = outcome(present, candidate)
    assert found.wins == (not why) and why in found.obstacle


def test_a_tie_is_not_broken_by_similarity() -> None:
    assert not outcome([0.6, NO], [0.9, NO]).wins


def test_no_version_takes_over_and_loses_to_what_it_took_over_from() -> None:
    kinds = (YES, NO, NONE, COPY)
    for present, candidate in product(product(kinds, repeat=3), repeat=2):
        assert not (outcome(present, candidate).wins and outcome(candidate, present).wins)


def test_the_rate_is_accepted_of_measurable_and_the_mean_leaves_the_rest_out() -> None:
    side = outcome([YES, NO, NONE, COPY], [NO] * 4).present
    assert (side.measurable, side.accepted, side.copies, side.good) == (3, 2, 1, 1)
    assert side.rate == pytest.approx(2 / 3) and side.similarity == pytest.approx(0.6)
    assert str(side) == "0.67 (2 of 3 accepted, 1 not measurable, 1 copies of references), mean similarity 0.600"


def test_a_similarity_that_is_no_number_is_left_out() -> None:
    side = outcome([YES, math.nan], [NO, NO]).present
    assert side.similarity == pytest.approx(0.8) and side.rate == 0.5
    assert outcome([math.nan], [math.nan]).present.similarity is None


def test_pictures_that_are_no_pairs_and_pictures_that_are_the_same_are_refused() -> None:
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    with pytest.raises(LikenessError, match="2 pictures of the present method and 1 of the version"):
        check_pairs([black, white], [white])
    with pytest.raises(LikenessError, match="0 pictures"):
        check_pairs([], [])
    with pytest.raises(LikenessError, match="the same pictures"):
        check_pairs([black, white], [black, white])
    check_pairs([black, white], [black, black])


def test_pairs_of_other_sizes_share_one_frame() -> None:
    small, large = np.zeros((4, 6, 3), np.uint8), np.full((8, 5, 3), 255, np.uint8)
    (frame,) = pairs([small], [large])
    assert frame.shape == (8, 12, 3) and not frame[:4, :6].any() and (frame[:, 6:11] == 255).all()
    assert (frame[4:, :6] == 128).all()


# ---- McNemar's test


def test_mcnemars_test_has_the_textbooks_figures() -> None:
    assert mcnemar(0, 0) is None
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(12, 5) == mcnemar(5, 12) == pytest.approx(0.143463, abs=1e-6)


def test_only_pairs_that_were_both_measured_count_for_the_test() -> None:
    found = outcome([NO, NO, YES, NONE, YES], [YES, YES, NO, YES, NONE])
    assert (found.better, found.worse, found.p) == (2, 1, 1.0)
    assert "may be chance" in found.chance()
    assert "more than chance explains" in outcome([NO] * 6, [YES] * 6).chance()
    assert "In no pair" in outcome([YES], [YES]).chance()


# ---- the profile


def with_loras(library: Library, *versions: LoraVersion, **more: Any) -> Profile:
    profile = library.get("ada")
    settings = BaseSettings(loras=versions, **more)
    library.save(profile.model_copy(update={"base": {"sd15": settings}}))
    return library.get("ada")


def version(number: int, active: bool = False, **more: Any) -> LoraVersion:
    return LoraVersion(file=f"ada/{number}.safetensors", version=number, active=active, **more)


def about(profile: Profile) -> Circumstances:
    return Circumstances(profile, True, "buffalo_l", True, "1 to 4")


BETTER, WORSE = outcome([NO, NO, YES, NO], [YES, YES, YES, NO]), outcome([YES, YES], [YES, NO])


def test_a_better_version_takes_over_with_its_evidence(ada: Library) -> None:
    seen = with_loras(ada, version(1))
    settled = settle(ada, 1, "sd15", BETTER, about(seen))
    stored = ada.get("ada").settings("sd15")
    assert settled.switched and stored.lora is not None and stored.lora.version == 1
    c = stored.lora.comparison
    assert c is not None and (c.rate, c.against_rate, c.pictures, c.seeds) == (0.75, 0.25, 4, "1 to 4")
    assert (c.against, c.better, c.worse, c.p, c.face_model) == ("faceid_only", 2, 0, 0.5, "buffalo_l")
    assert c.verdict.startswith("Version 1 takes over from faceid_only.") and RULE in c.verdict
    assert parse(emit(ada.get("ada"))) == ada.get("ada") == settled.profile


def test_what_is_not_better_stays_with_the_reason(ada: Library) -> None:
    seen = with_loras(ada, version(1, True), version(2))
    settled = settle(ada, 2, "sd15", WORSE, about(seen))
    stored = ada.get("ada").settings("sd15")
    assert not settled.switched and stored.lora is not None and stored.lora.version == 1
    kept = stored.loras[1].comparison
    assert kept is not None and "lora_faceid v1 stays: version 2 does not take over, because" in kept.verdict


def test_only_reporting_leaves_what_draws(ada: Library) -> None:
    seen = with_loras(ada, version(1))
    settled = settle(ada, 1, "sd15", BETTER, about(seen), switch=False)
    assert not settled.switched and ada.get("ada").settings("sd15").lora is None
    assert "would take over" in settled.comparison.verdict and ada.get("ada").settings("sd15").loras[0].comparison


def test_a_pinned_method_without_lora_gives_way_to_the_winner(ada: Library) -> None:
    seen = with_loras(ada, version(1), method="faceid_only")
    settle(ada, 1, "sd15", BETTER, about(seen))
    assert ada.get("ada").settings("sd15").method == "auto"


def test_a_version_that_is_gone_meanwhile_is_an_error(ada: Library) -> None:
    seen = with_loras(ada, version(1))
    with_loras(ada)
    with pytest.raises(LibraryError, match="no LoRA version 1"):
        settle(ada, 1, "sd15", BETTER, about(seen))


def test_a_version_that_was_replaced_meanwhile_is_an_error(ada: Library) -> None:
    seen = with_loras(ada, version(1, sha256="a" * 64))
    with_loras(ada, version(1, sha256="b" * 64))
    with pytest.raises(LibraryError, match="was replaced meanwhile"):
        settle(ada, 1, "sd15", BETTER, about(seen))
    assert ada.get("ada").settings("sd15").loras[0].comparison is None


@pytest.mark.parametrize("how", ["another version", "strengths", "trigger", "face_model"])
def test_a_profile_that_was_changed_meanwhile_stays(ada: Library, how: str) -> None:
    seen = with_loras(ada, version(1), version(2))
    if how == "another version":
        activate(ada, "ada", 2)
    elif how == "strengths":
        with_loras(ada, version(1), version(2), strengths=Strengths(faceid_weight=0.3))
    else:
        ada.save(seen.model_copy(update={how: "other"}))
    settled = settle(ada, 1, "sd15", BETTER, about(seen))
    assert not settled.switched and "was changed after the pictures were drawn" in settled.comparison.verdict
    active = ada.get("ada").settings("sd15").lora
    assert (active.version if active else None) == (2 if how == "another version" else None)


def test_what_was_activated_meanwhile_is_what_the_verdict_says_that_draws(ada: Library) -> None:
    for pictures, words in ((WORSE, "does not take over from lora_faceid v1, because"), (BETTER, "has won, but")):
        seen = with_loras(ada, version(1, True), version(2), version(3))
        activate(ada, "ada", 2)
        for number in (2, 3):
            settled = settle(ada, number, "sd15", pictures, about(seen))
            told = settled.comparison.verdict.splitlines()[0]
            assert not settled.switched and told.startswith(f"Version {number} ") and words in told
            assert "draws with lora_faceid v2 by now" in told and "stays" not in told


def test_another_version_that_was_registered_meanwhile_does_not_hinder(ada: Library) -> None:
    seen = with_loras(ada, version(1))
    with_loras(ada, version(1), version(2))
    assert settle(ada, 1, "sd15", BETTER, about(seen)).switched


def test_of_several_that_wait_pictures_do_not_tell_which_drew_them(ada: Library) -> None:
    profile = with_loras(ada, version(1, True), version(2), version(3))
    with pytest.raises(LibraryError, match=r"several LoRA versions .* on sd15 \(2, 3\).*give its number"):
        candidate_of(profile)
    assert candidate_of(profile, 2) == (2, "sd15")
    assert newest_waiting(profile) == (3, "sd15"), "where it is still to be drawn"
    with pytest.raises(LibraryError, match="and older ones"):
        candidate_of(with_loras(ada, *(version(n) for n in range(1, 100))))


def test_the_only_waiting_version_is_meant_where_none_is_named(ada: Library) -> None:
    profile = with_loras(ada, version(1), version(2, True))
    assert candidate_of(profile) == newest_waiting(profile) == (1, "sd15") and candidate_of(profile, 1) == (1, "sd15")
    with pytest.raises(LibraryError, match="Version 2 draws Ada on sd15 already"):
        candidate_of(profile, 2)
    with pytest.raises(LibraryError, match="has none: register one"):
        candidate_of(with_loras(ada, version(1, True)))
    pinned = with_loras(ada, version(1, True), method="faceid_only")
    assert candidate_of(pinned, 1) == (1, "sd15"), "it does not draw while the method uses no LoRA"
    two = pinned.model_copy(update={"base": {f: BaseSettings(loras=(version(1),)) for f in ("sd15", "sdxl")}})
    with pytest.raises(LibraryError, match="on sd15, sdxl: say the family"):
        candidate_of(two)
    assert candidate_of(two, family="sdxl") == (1, "sdxl")


def test_the_present_method_is_named_with_its_version() -> None:
    settings = BaseSettings(loras=(version(3, True),))
    assert drawn_by(settings, True) == "lora_faceid v3" and drawn_by(settings, False) == "lora_only v3"
    assert drawn_by(BaseSettings(), True) == "faceid_only" and drawn_by(BaseSettings(), False) == "img2img"
    assert drawn_by(settings.model_copy(update={"method": "faceid_only"}), True) == "faceid_only"
