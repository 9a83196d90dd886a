"""The page and the JSON of a report."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from likeness import images
from likeness.errors import LikenessError
from likeness.hand_set import HandSet
from likeness.report.chart import chart
from likeness.report.document import Report, to_json
from likeness.report.finish import Files, files_for, pictures_below, pictures_of, save
from likeness.report.folder import LeftOut
from likeness.report.journal import Journal
from likeness.report.measure import Measured, measure_folder
from likeness.report.page import MAX_LEFT_OUT, to_html
from likeness.report.plots import histogram_plot, similarity_axis, strip_plot, yaw_plot
from likeness.report.words import advice
from likeness.scoring import Look
from likeness.style import StyleMatch

from .report_pictures import ADA, BEN, measures, report_of, row
from .report_pictures import save as save_picture

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Reader(HTMLParser):
    """Everything in a page that could load or run something, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(report: Report, **options: object) -> str:
    return to_html(report, advice(report), **options).decode("utf-8")  # type: ignore[arg-type]


def some(count: int = 20) -> Measured:
    rows = [row(f"{'ab'[i % 2]}/{i:03d}.png", i / count, yaw=i / count - 0.5) for i in range(count)]
    return Measured(tuple(rows), (LeftOut("broken.png", "the picture is damaged"),))


def test_a_page_is_whole_and_loads_nothing() -> None:
    told = page(report_of(some(), "folder"), thumbnail=lambda r: b"\xff\xd8jpeg")
    read = Reader(told)
    assert read.open == [] and not read.handlers
    assert read.tags & {"script", "link", "iframe", "object", "embed", "form", "base"} == set()
    assert read.links and all(link.startswith("data:image/jpeg;base64,") for link in read.links)
    assert "url(" not in told and "@import" not in told and "http:" not in told
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', told)
    assert policy is not None and "default-src &#x27;none&#x27;" in policy[1]


def test_every_text_of_a_stranger_is_escaped() -> None:
    rows = (row(f"{EVIL}.png", 0.5, nearest=EVIL, copy=True), replace(row("b.png", None), reason=EVIL))
    report = report_of(Measured(rows, (LeftOut(EVIL, EVIL),)), "x=(.*)")
    told = replace(report.about, title=EVIL, character=EVIL, source=EVIL, notes=(EVIL,), second=EVIL, style=EVIL)
    read = Reader(page(replace(report, about=told)))
    assert "script" not in read.tags and "img" not in read.tags and not read.handlers and not read.links
    assert sum("<script>alert(1)</script>" in text for text in read.text) >= 8


def test_the_page_of_ten_thousand_pictures_stays_small() -> None:
    rng = np.random.default_rng(1)
    rows = [row(f"run/{i:05d}.png", float(s), yaw=float(s) - 0.5) for i, s in enumerate(rng.random(10_000))]
    left_out = tuple(LeftOut(f"broken/{i}.png", "broken") for i in range(1000))
    report = report_of(Measured(tuple(rows), left_out), "folder", r"one=(\d+)")
    told = page(report, thumbnail=lambda r: bytes(6000))
    assert len(told) < 800_000
    assert f"and {1000 - MAX_LEFT_OUT} more" in told and "groups in the JSON file" in told
    assert len(json.loads(to_json(report, []))["pictures"]) == 10_000


@pytest.mark.parametrize("measured", [Measured(()), Measured((row("a.png", None, yaw=None),)), Measured((row(),))])
def test_a_report_of_little_is_whole(measured: Measured) -> None:
    report = report_of(measured, "folder")
    assert Reader(page(report)).open == []
    assert chart(report).shape == (540, 960, 3)
    json.loads(to_json(report, advice(report)))


class Nothing:
    """A gate that takes every face for a drawn one, and a look and a style that have no numbers."""

    name, references_drawn = "look similarity (made up)", True

    def drawn(self, face: object) -> bool:
        return True

    def compare(self, picture: object, face: object) -> Look:
        return Look(self.name, float("nan"))

    def embed(self, pictures: Sequence[object]) -> Any:
        return np.full((len(pictures), 4), np.inf, np.float32)


@pytest.mark.parametrize("again", [False, True])
def test_what_has_no_number_is_left_out_of_rows_journal_and_json(tmp_path: Path, again: bool) -> None:
    save_picture(tmp_path / "in" / "a.png", ADA)
    save_picture(tmp_path / "in" / "nobody.png", None)
    nothing, known = Nothing(), measures()
    judge = replace(known.judge, gate=nothing, look=nothing, measure_drawn=True)  # type: ignore[arg-type]
    style = StyleMatch("made up", nothing, np.ones(4, np.float32), 1)
    measured = None
    for _ in range(1 + again):
        journal = Journal(tmp_path / "r.part", "k")
        measured = measure_folder(tmp_path / "in", replace(known, judge=judge, style=style), journal)
    assert measured is not None and [r.name for r in measured.rows] == ["a.png", "nobody.png"]
    assert all((r.look, r.look_value, r.style) == ("", None, None) for r in measured.rows)
    report = report_of(measured)
    values = json.loads(to_json(report, advice(report)), parse_constant=pytest.fail)
    assert values["summary"]["pictures"] == 2 and "NaN" not in page(report)


def test_half_characters_of_a_journal_or_a_model_do_no_harm() -> None:
    report = report_of(Measured((row("\udcff.png", 0.5, nearest="\ud800", copy=True),)), r"x=(.*)")
    report = replace(report, about=replace(report.about, second="pack\udcff", notes=("\udcff",)))
    values = json.loads(to_json(report, advice(report)).decode("utf-8"))
    assert values["about"]["second"] == "pack\udcff" and values["pictures"][0]["name"] == "\\xff.png"
    assert Reader(page(report)).open == []


@pytest.mark.parametrize("size", [(1, 9000), (9000, 1), (1, 1)])
def test_a_picture_of_any_shape_has_a_thumbnail(size: tuple[int, int]) -> None:
    data = images.encode_jpeg(np.zeros((*size, 3), np.uint8), 160)
    assert max(images.decode(data).shape[:2]) <= 160


def test_plots_are_well_formed_and_stay_inside() -> None:
    report = report_of(some(), "folder")
    limits = similarity_axis(report)
    for svg in (histogram_plot(report), yaw_plot(report), strip_plot(report.tables[0].groups, limits, 0.4)):
        root = ElementTree.fromstring(svg)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for element in root.iter():
            for key, limit in (("x", width), ("x1", width), ("cx", width), ("y", height), ("cy", height)):
                assert 0 <= float(element.get(key, 0)) <= limit


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.5], [-0.31, -0.3], [0.0, 0.0]])
def test_plots_take_any_range(values: list[float]) -> None:
    report = report_of(Measured(tuple(row(f"{i}.png", v) for i, v in enumerate(values))))
    low, high = similarity_axis(report)
    assert -1 <= low < high <= 1
    ElementTree.fromstring(histogram_plot(report))
    chart(report)


def test_the_json_has_sorted_keys_no_path_and_no_embedding(tmp_path: Path) -> None:
    save_picture(tmp_path / "deep" / "a.png", ADA)
    save_picture(tmp_path / "b.png", BEN)
    (tmp_path / "c.png").touch()
    report = report_of(measure_folder(tmp_path, measures()), "folder")
    text = to_json(report, advice(report)).decode()
    values = json.loads(text)
    assert list(values) == sorted(values) and values["schema"] == 1
    assert str(tmp_path) not in text and "embedding" not in text
    assert values["summary"]["consistency_rate"] == 0.5 and values["summary"]["not_readable"] == 1
    assert [p["name"] for p in values["pictures"]] == ["b.png", "deep/a.png"]
    assert values["pictures"][1]["groups"] == {"folder": "deep"}
    assert not re.search(r"(-?\d\.\d+,\s*){40}", text)


def test_both_files_are_written_with_thumbnails(tmp_path: Path) -> None:
    for i in range(3):
        save_picture(tmp_path / "in" / f"{i}.png", ADA, i + 5)
    report = report_of(measure_folder(tmp_path / "in", measures()))
    (tmp_path / "in" / "0.png").unlink()
    files = files_for(tmp_path / "out" / "report.json")
    save(report, files, pictures_below(tmp_path / "in"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    assert files.html.read_text(encoding="utf-8").count("data:image/jpeg") == 2


def test_a_page_says_what_is_a_reference_what_a_copy_and_which_verdict_the_extremes_have() -> None:
    itself = row("0.png", 0.9, nearest="references/1.png", nearest_similarity=1.0)
    rows = (itself, row("1.png", 0.8, copy=True, nearest="references/2.png"), *some(6).rows)
    text = " ".join(Reader(page(report_of(Measured(rows), "folder"))).text)
    assert "references/1.png itself: left out of the figures" in text and "a copy of references/2.png?" in text
    assert "1 reference itself, left out" in text
    assert "Least alike By similarity alone, whatever the verdict: 1 accepted, 3 rejected." in text
    assert "Most alike By similarity alone, whatever the verdict: 3 accepted." in text
    assert "Groups are ranked by consistency rate" in text


def test_a_page_puts_pictures_without_a_group_last() -> None:
    told = page(report_of(some(12), r"which=a/(\d)"))
    table = told[told.index("By which") :]
    assert table.index("<td>0</td>") < table.index("<td>(none)</td>")


def test_the_tables_of_groups_are_as_wide_as_the_page() -> None:
    """With the second face model and a style there are ten columns; they may wrap, so that none is cut off."""
    rows = tuple(row(f"{'ab'[i % 2]}/{i}.png", 0.5, second=0.4, style=0.7) for i in range(12))
    told = page(report_of(Measured(rows), "folder"))
    assert '<table class="groups"' in told and "table.groups th,table.groups td{" in told
    rule = told[told.index("table.groups th,table.groups td{") :]
    assert "white-space:normal" in rule[: rule.index("}")]


def test_one_picture_has_no_spread_on_the_page() -> None:
    told = page(report_of(Measured((row(second=0.4),)), "folder"))
    assert "± 0.000" not in told and "±" not in told.replace("± profile", "")


def test_a_page_names_the_calibrated_threshold_beside_one_by_hand() -> None:
    report = report_of(some())
    report = replace(report, about=replace(report.about, hand_set=HandSet(0.4, 0.275, 0.25)))
    assert "0.400 (set by hand; calibrated 0.275)" in page(report)


def test_a_name_for_the_page_alone_is_no_name_for_the_json() -> None:
    assert files_for(Path("x/r.html")) == Files(Path("x/r.json"), Path("x/r.html"))
    assert files_for(Path("r.HTM")) == Files(Path("r.json"), Path("r.HTM"))
    for out, html in (("r.html", "p.html"), ("r.json", "p.json")):
        with pytest.raises(LikenessError, match=r"ends with \.json"):
            files_for(Path(out), Path(html))


def test_the_page_lies_beside_the_json_unless_told() -> None:
    assert files_for(Path("x/r.json")).html == Path("x/r.html")
    assert files_for(Path("x/r")).html == Path("x/r.html")
    assert files_for(Path("r.json"), Path("p.htm")).html == Path("p.htm")
    with pytest.raises(LikenessError, match="file name"):
        files_for(Path("/"))


def test_a_thumbnail_is_a_small_jpeg_without_metadata() -> None:
    data = images.encode_jpeg(np.full((400, 900, 3), 200, np.uint8), 160)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (160, 71)) and "exif" not in image.info
    assert images.decode(data).shape == (71, 160, 3)


def test_thumbnails_of_a_batch_are_found_by_name() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    find = pictures_of(["image 1"], [pixels])
    assert find(row("image 1")) is pixels and find(row("image 2")) is None
