"""The figures of a report, its groups, and its words."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from likeness.errors import LikenessError
from likeness.hand_set import HandSet
from likeness.report.document import to_json
from likeness.report.folder import LeftOut
from likeness.report.groups import group_values, parse_groupings
from likeness.report.measure import Measured
from likeness.report.settings import settings_of
from likeness.report.statistics import Spread, histogram, kind_of, pose_of, spread_of, tally, welch, wilson
from likeness.report.words import RULE, advice, contest, headline, plus_minus

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


def test_a_picture_that_is_a_reference_counts_in_no_figure_and_stays_listed() -> None:
    itself = row("itself.png", 0.95, nearest="references/1.png", nearest_similarity=0.999, copy=True, style=0.9)
    copies = row("copy.png", 0.9, nearest="references/1.png", nearest_similarity=0.96, copy=True)
    t = tally([row(similarity=0.6), row(similarity=0.2), itself, copies], None, 0.7)
    assert (t.pictures, t.references, t.accepted, t.rejected, t.not_measurable, t.copies) == (4, 1, 2, 1, 0, 1)
    assert t.style is None and t.similarity is not None and t.similarity.high == 0.9
    report = report_of(Measured((row("a.png", 0.6), itself, copies)), "folder")
    assert [r.name for r in (*report.worst, *report.best)] == ["a.png", "copy.png"] and len(report.rows) == 3
    assert sum(n for _, n in histogram(r.similarity for r in report.counted)) == 2
    assert report.tables[0].groups[0].similarities == (0.6, 0.9)
    assert "1 picture is a reference itself: left out of all figures." in advice(report)


def test_only_copies_ask_for_lower_strengths() -> None:
    itself = {"nearest_similarity": 1.0, "copy": True}
    told = advice(report_of(Measured((row("a.png", 0.9, **itself), row("b.png", 0.6)))))
    assert not any("lower the strength" in s for s in told)
    (said,) = [s for s in advice(report_of(Measured((row("a.png", 0.9, copy=True), row("b.png"))))) if "lower" in s]
    assert said.startswith("1 picture is nearer to one reference (above 0.")


def test_nothing_but_references_has_no_rate() -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", 0.9, nearest_similarity=1.0) for i in range(3))))
    assert headline(report) == "3 pictures, all of them references themselves, so there is no consistency rate."
    assert not any("left out" in s for s in advice(report))


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


def test_pictures_without_a_setting_are_never_ranked() -> None:
    rows = [*many("a", 0.5), *many("b", 0.9)]
    read = {"a": {"lora": "a.safetensors"}}
    report = report_of(Measured(tuple(rows)), "lora", read=lambda name: read.get(name[0], {}))  # type: ignore[arg-type]
    (table,) = report.tables
    assert [g.value for g in table.groups] == ["a.safetensors"] and [g.value for g in table.listed][1] == "(none)"
    told = contest(table)
    assert "Second" not in told and told.endswith("20 pictures are in no group: none says which LoRA.")
    (blank,) = report_of(Measured(tuple(rows)), "lora").tables  # type: ignore[arg-type]
    assert contest(blank) == "No picture says which LoRA."
    (odd,) = report_of(Measured(tuple(rows)), r"epoch=-(\d)").tables  # type: ignore[arg-type]
    assert contest(odd) == "No picture matches the pattern of epoch."
    values = json.loads(to_json(report, []))["groups"]["lora"]
    assert [g["value"] for g in values["ranking"]] == ["a.safetensors"] and values["in_no_group"]["pictures"] == 20


def test_a_folder_that_is_called_none_is_a_group() -> None:
    (table,) = report_of(Measured((row("(none)/1.png"),)), "folder").tables
    assert [g.value for g in table.groups] == ["(none)"] and table.unknown is None


def test_the_rule_of_the_ranking_is_said_where_there_is_one() -> None:
    two = report_of(Measured((*many("a", 0.7), *many("b", 0.6))), "folder")  # type: ignore[arg-type]
    assert RULE in advice(two) and "fewer than 5 measurable pictures come last" in RULE
    assert RULE not in advice(report_of(Measured(tuple(many("a", 0.7))), "folder"))  # type: ignore[arg-type]


def test_one_value_has_no_spread() -> None:
    one, two = spread_of([0.5]), spread_of([0.5, 0.5])
    assert one is not None and plus_minus(one) == "0.500"
    assert two is not None and plus_minus(two) == "0.500 ± 0.000"
    assert "±" not in headline(report_of(Measured((row(),))))


def test_a_single_picture_is_spoken_of_as_one() -> None:
    rows = (row("a.png", 0.41, copy=True), row("b.png", 0.2, nearest_similarity=1.0))
    report = report_of(Measured(rows, (LeftOut("x.png", "broken"),), ("a.png",)))
    text = " ".join([headline(report), *advice(report)])
    assert "1 pictures" not in text and "1 files" not in text
    assert "1 picture is a link to a file outside the folder; it counts." in text
    assert "1 picture lies within" in text and "1 file or folder is not in the figures" in text


def test_a_low_rate_is_told_in_numbers() -> None:
    rows = tuple(row(f"{i}.png", 0.6 if i % 3 else 0.1) for i in range(30))
    text = " ".join(advice(report_of(Measured(rows))))
    assert "Many pictures" not in text and "10 of 30 pictures that could be measured are rejected" in text


def test_a_threshold_by_hand_is_compared_with_the_calibrated_one() -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", i / 10) for i in range(10))))
    by_hand = replace(report, about=replace(report.about, hand_set=HandSet(0.4, 0.2, 0.25)))
    assert "calibrated is 0.200: 8 of 10 accepted instead of 6." in " ".join(advice(by_hand))
    assert json.loads(to_json(by_hand, []))["about"]["hand_set"]["calibrated"] == 0.2


def test_pictures_without_background_are_told_apart_from_the_style() -> None:
    rows = (row("a.png", style=0.8), row("b.png", style=None))
    report = report_of(Measured(rows))
    assert not any("background" in s for s in advice(report)), "no style was asked for"
    text = " ".join(advice(replace(report, about=replace(report.about, style="Ada"))))
    assert "1 of 1 picture from 0.70 on" in text and "1 picture has no background to compare" in text
    none = report_of(Measured((row("b.png"),)))
    text = " ".join(advice(replace(none, about=replace(none.about, style="Ada"))))
    assert "1 picture has no background to compare" in text and "keep to" not in text


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
    assert "6 pictures are nearer to one reference (above 0." in said
    assert "Faces in profile are 0.30 less alike" in said


def test_no_similarity_is_printed_as_a_percentage() -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", 0.4 + i / 50) for i in range(20))), "folder")
    text = " ".join([headline(report), *advice(report), *map(contest, report.tables)])
    assert "%" not in text.replace("95 % interval", "") and not math.isnan(len(text))
