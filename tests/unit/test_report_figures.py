"""The figures of a report, its groups, and its words."""

from __future__ import annotations

import json
import math
import random

import pytest

from likeness.errors import LikenessError
from likeness.report.folder import LeftOut
from likeness.report.groups import group_values, parse_groupings
from likeness.report.measure import Measured
from likeness.report.settings import settings_of
from likeness.report.statistics import Spread, histogram, kind_of, pose_of, spread_of, tally, welch, wilson
from likeness.report.words import advice, contest, headline

from .report_pictures import graph, report_of, row


def test_the_interval_of_a_share_is_wilsons() -> None:
    low, high = wilson(8, 10) or (0, 0)  # statsmodels.stats.proportion_confint(8, 10, method="wilson")
    assert (low, high) == (pytest.approx(0.490162, abs=1e-6), pytest.approx(0.943318, abs=1e-6))
    assert wilson(0, 0) is None
    assert wilson(0, 5) == (0.0, pytest.approx(0.434482, abs=1e-6))
    assert (wilson(5, 5) or (0, 0))[1] == 1.0


def test_the_interval_holds_the_true_share_about_95_times_in_100() -> None:
    rng, held = random.Random(1), 0
    for _ in range(2000):
        low, high = wilson(sum(rng.random() < 0.7 for _ in range(40)), 40) or (0, 0)
        held += low <= 0.7 <= high
    assert 0.93 < held / 2000 < 0.97


def test_welchs_test_agrees_with_tables() -> None:
    # scipy.stats.ttest_ind([1, 2, 3, 4], [2, 4, 6, 8, 9], equal_var=False)
    test = welch(spread_of([1, 2, 3, 4]) or nothing(), spread_of([2, 4, 6, 8, 9]) or nothing())
    assert test is not None
    assert test.t == pytest.approx(-2.301081, abs=1e-6) and test.p == pytest.approx(0.062555, abs=1e-4)
    for df, t in ((1, 12.706), (5, 2.571), (30, 2.042), (1000, 1.962)):  # critical values of p = .05
        spread = Spread(2, t, 1.0, 0, 0, 0, 0, 0)
        assert spread.mean == t and p_of(t, df) == pytest.approx(0.05, abs=2e-4)


def p_of(t: float, df: float) -> float:
    from likeness.report.statistics import _beta_share

    return _beta_share(df / (df + t * t), df / 2, 0.5)


def nothing() -> Spread:
    raise AssertionError


def test_a_test_of_equal_groups_says_beyond_noise_once_in_twenty() -> None:
    rng, beyond = random.Random(2), 0
    for _ in range(1000):
        a, b = (spread_of([rng.gauss(0.6, s) for _ in range(n)]) for s, n in ((0.05, 12), (0.15, 20)))
        test = welch(a or nothing(), b or nothing())
        beyond += test is not None and test.beyond_noise
    assert 0.03 < beyond / 1000 < 0.07


def test_no_test_without_spread_or_pictures() -> None:
    one, same = spread_of([0.5]), spread_of([0.5, 0.5])
    assert one is not None and same is not None
    assert welch(one, same) is None and welch(same, same) is None


def test_a_tally_counts_what_is_not_measurable_apart() -> None:
    rows = [row(similarity=0.6), row(similarity=0.2), row(similarity=None), row(similarity=0.9, copy=True)]
    t = tally(rows, None, 0.7)
    assert (t.accepted, t.rejected, t.not_measurable, t.copies) == (2, 1, 1, 1)
    assert t.rate == pytest.approx(2 / 3)
    assert t.similarity is not None and t.similarity.count == 3 and t.similarity.mean == pytest.approx(1.7 / 3)
    assert dict(t.reasons) == {"less alike than the band asks for": 1, "the face is small": 1}


def test_nothing_measurable_has_no_rate_and_no_mean() -> None:
    t = tally([row(similarity=None)], None, 0.7)
    assert t.rate is None and t.interval is None and t.similarity is None


def test_reasons_are_counted_without_their_figures() -> None:
    assert kind_of("the face is too small (12 px wide, 32 are needed)") == "the face is too small"
    assert kind_of("similarity 0.123 is below 0.35 (calibrated)") == "less alike than the band asks for"


def test_the_pose_follows_the_measured_yaw() -> None:
    yaws = {0.0: "frontal", 0.149: "frontal", -0.15: "three-quarter", 0.449: "three-quarter", -0.45: "profile"}
    assert {yaw: pose_of(row(yaw=yaw)) for yaw in yaws} == yaws
    assert pose_of(row(yaw=None)) is None


def test_histogram_bins_hold_every_value_once() -> None:
    values = [-1.0, 0.3, 0.3499, 0.35, 1.0]
    bins = dict(histogram([*values, None]))
    assert sum(bins.values()) == 5
    assert (bins[-1.0], bins[0.3], bins[0.35], bins[0.95]) == (1, 2, 1, 1)
    assert histogram([None]) == []


# ---- groups


def test_groups_by_folder_by_level_and_by_pattern() -> None:
    groupings = parse_groupings(["folder", "folder:2", r"epoch=-(\d+)", "what=park|street"])
    values = group_values(["run1/park/ada-000004_1.png", "top.png"], groupings)
    assert values == [("run1", "park", "000004", "park"), ("(top folder)", "(top folder)", "(none)", "(none)")]


def test_the_named_bracket_is_the_group_and_a_list_of_words_is_allowed() -> None:
    words = "place=_(street|park|beach|forest|room|studio)_"
    groupings = parse_groupings([r"epoch=(run)\d-(?P<epoch>\d+)", words])
    assert group_values(["run1-08_park_1.png"], groupings) == [("08", "park")]


def test_only_what_the_saved_picture_depends_on_is_a_setting() -> None:
    nodes = {
        "1": {"class_type": "LoraLoader", "inputs": {"lora_name": "used.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "beside.safetensors"}},
        "3": {"class_type": "LikenessSeed", "inputs": {"seed": 41}},
        "4": {"class_type": "RandomNoise", "inputs": {"noise_seed": ["3", 0]}},
        "5": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["6", 0]}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "on a pier"}},
        "7": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["4", 0], "guider": ["5", 0]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}},
    }
    told = {"lora": "used.safetensors", "seed": "41", "prompt": "on a pier"}
    assert settings_of(json.dumps(nodes).encode()) == told
    del nodes["8"]
    both = "beside.safetensors + used.safetensors"
    assert settings_of(json.dumps(nodes).encode()) == told | {"lora": both}, "where nothing saves, all nodes count"


def test_groups_by_the_settings_that_comfyui_wrote() -> None:
    names = ["lora", "lora_strength", "faceid_weight", "checkpoint", "seed", "prompt"]
    (values,) = group_values(["a.png"], parse_groupings(names), lambda name: settings_of(graph()))
    assert values == ("ada-000004.safetensors", "0.8", "0.5", "sdxl.safetensors", "7", "in a park")
    assert group_values(["a.png"], parse_groupings(["lora"])) == [("(none)",)]


@pytest.mark.parametrize("text", ["nothing", "folder:0", "folder:x", "=x", "x=(", "a b c=)", "x=" + "y" * 200])
def test_a_grouping_that_is_none_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(LikenessError, match=r"grouping|pattern"):
        parse_groupings([text])


# ---- ranking and words


def many(name: str, mean: float, count: int = 20, step: float = 0.01) -> list[object]:
    return [row(f"{name}/{i}.png", mean + step * (i - (count - 1) / 2)) for i in range(count)]


def test_groups_are_ranked_by_consistency_then_by_mean() -> None:
    rows = [*many("a", 0.6), *many("b", 0.7), *many("c", 0.9)[:10], *many("c", 0.2)[10:]]
    (table,) = report_of(Measured(tuple(rows)), "folder").tables  # type: ignore[arg-type]
    assert [g.value for g in table.groups] == ["b", "a", "c"]


def test_a_single_lucky_picture_does_not_win() -> None:
    rows = [*many("a", 0.6), row("a/low.png", 0.1), row("lucky/1.png", 0.99)]
    (table,) = report_of(Measured(tuple(rows)), "folder").tables  # type: ignore[arg-type]
    assert [g.value for g in table.groups] == ["a", "lucky"]
    assert "too few pictures" in contest(table)


def test_the_difference_of_two_groups_is_told_from_chance() -> None:
    (far,) = report_of(Measured((*many("a", 0.7), *many("b", 0.6))), "folder").tables  # type: ignore[arg-type]
    (near,) = report_of(Measured((*many("a", 0.61), *many("b", 0.6))), "folder").tables  # type: ignore[arg-type]
    assert contest(far).startswith("Best folder: a, 0.700 ± 0.059 over 20 (20 of 20 accepted)")
    assert "beyond the noise" in contest(far) and "within the noise" in contest(near)


def test_one_group_and_no_measurable_group_are_said() -> None:
    (one,) = report_of(Measured(tuple(many("a", 0.7))), "folder").tables  # type: ignore[arg-type]
    assert "no other" in contest(one)
    (none,) = report_of(Measured((row("a/1.png", None),)), "folder").tables
    assert contest(none) == "By folder nothing could be measured."


def test_the_worst_and_the_best_do_not_overlap() -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", i / 10) for i in range(5))), top=12)
    assert [r.name for r in report.worst] == ["0.png", "1.png", "2.png"]
    assert [r.name for r in report.best] == ["4.png", "3.png"]


def test_an_empty_report_says_so() -> None:
    assert headline(report_of(Measured(()))) == "There is no picture that could be read."
    assert "Check the folder" in advice(report_of(Measured((), (LeftOut("x.png", "broken"),))))[0]


def test_a_report_of_nothing_measurable_names_the_reason_and_a_remedy() -> None:
    rows = tuple(row(f"{i}.png", None) for i in range(3))
    rows = tuple(type(r)(r.name, r.verdict, "the face is too small (9 px wide, 32 are needed)", 1) for r in rows)
    report = report_of(Measured(rows))
    assert headline(report).startswith("None of 3 pictures could be measured")
    assert any("3 of them: the face is too small" in s and "detailer" in s for s in advice(report))


def test_copies_and_weak_profiles_are_named() -> None:
    rows = [row(f"{i}.png", 0.8, copy=True) for i in range(6)]
    rows += [row(f"p{i}.png", 0.5, yaw=0.5) for i in range(6)]
    said = " ".join(advice(report_of(Measured(tuple(rows)))))
    assert "6 pictures are nearer to one reference" in said
    assert "Faces in profile are 0.30 less alike" in said


def test_no_similarity_is_printed_as_a_percentage() -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", 0.4 + i / 50) for i in range(20))), "folder")
    text = " ".join([headline(report), *advice(report), *map(contest, report.tables)])
    assert "%" not in text.replace("95 % interval", "") and not math.isnan(len(text))
