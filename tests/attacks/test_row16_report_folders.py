"""Attack: a folder that makes a report stumble: files that are no pictures, names, links, and what PNG files tell.

Whatever lies in it, the report is finished, and lists what it could not read with the reason.
"""

from __future__ import annotations

import json
import os
import random
import struct
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from likeness import images
from likeness.report.document import to_json
from likeness.report.finish import pictures_below, settings_below
from likeness.report.measure import measure_folder
from likeness.report.page import to_html
from likeness.report.settings import MAX_GRAPH, SETTINGS, read_settings, settings_of
from likeness.report.words import advice

from ..fakes import face_picture
from ..unit.report_pictures import ADA, graph, measures, report_of, save, with_text

EVIL = "x'\"><script>alert(1)<script>.png"


def huge_png(width: int, height: int) -> bytes:
    """A PNG header that promises more pixels than anybody has memory for."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def nasty_folder(root: Path) -> dict[str, str]:
    """Makes it; the names of what must be listed, and a part of the reason."""
    good = images.encode_png(face_picture(ADA, 1))
    files = {
        "broken.png": (b"no picture", "not a PNG"),
        "empty.jpg": (b"", "the file is empty"),
        "cut.png": (good[: len(good) // 2], "cut short"),
        "huge.png": (huge_png(60_000, 60_000), "megapixels"),
        "51mp.png": (huge_png(10_000, 5_100), "megapixels"),
        "old.bmp": (b"BM", "convert"),
        EVIL: (b"x", "not a PNG"),
        "line\nend\x1b[2J.png": (b"x", "not a PNG"),
        "n" * 240 + ".png": (b"x", "not a PNG"),
        os.fsdecode(b"latin-\xe9\xff.png"): (b"x", "not a PNG"),
        "sub/deep/broken.webp": (b"RIFF", "not a PNG"),
    }
    for name, (data, _) in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    save(root / "good.png", ADA)
    save(root / "sub" / "deep" / os.fsdecode(b"good-\xff\n.png"), ADA)
    (root / "link.png").symlink_to(root / "good.png")
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "sub" / "circle").symlink_to(root)
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    reasons = {name: reason for name, (_, reason) in files.items()}
    return reasons | {
        "gone.png": "leads to no file",
        "self.png": "leads to no file",
        "link.png": "a link to good.png",
        "sub/circle": "link to a folder",
        "pipe.png": "not a plain file",
    }


@pytest.mark.skipif(os.name == "nt", reason="such names and pipes do not exist on Windows")
def test_a_nasty_folder_gives_a_full_report_that_lists_each(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    expected = nasty_folder(root)
    measured = measure_folder(root, measures())
    assert [r.name for r in measured.rows] == ["good.png", os.fsdecode(b"sub/deep/good-\xff\n.png")]
    reasons = {x.name: x.reason for x in measured.left_out}
    assert set(reasons) == set(expected)
    assert [name for name, part in expected.items() if part not in reasons[name]] == []
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    report = report_of(measured, "folder", r"x=(.*)\.png")
    values = json.loads(to_json(report, advice(report)).decode("utf-8"))
    assert len(values["not_readable"]) == len(expected)
    assert "latin-\\xe9\\xff.png" in [x["name"] for x in values["not_readable"]]
    page = to_html(report, advice(report), lambda r: b"" if pictures_below(root)(r) is None else b"jpeg").decode(
        "utf-8"
    )
    assert tags_of(page) & {"script", "iframe"} == set() and "\x1b" not in page


def tags_of(page: str) -> set[str]:
    class Tags(HTMLParser):
        found: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found.add(tag)

    reader = Tags()
    reader.feed(page)
    return reader.found


def test_a_folder_of_nothing_gives_a_report_that_says_so(tmp_path: Path) -> None:
    report = report_of(measure_folder(tmp_path, measures()))
    assert b"There is no picture that could be read." in to_html(report, advice(report))


# ---- what PNG files tell

HOSTILE = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"[" * 500_000,
    b'{"a":' * 100_000,
    b"1" * 1_000_000,
    b'{"1":{"class_type":"KSampler","inputs":{"seed":' + b"9" * 500_000 + b"}}}",
    b'{"1":{"class_type":["KSampler"],"inputs":{"seed":1}}}',
    b'{"1":{"class_type":"KSampler","inputs":[1,2]}}',
    b'{"1":{"class_type":"KSampler","inputs":{"seed":NaN,"positive":["1",0]}}}',
    b'{"1":{"class_type":"KSampler","inputs":{"seed":1e999,"positive":["2",0]}},"2":{"inputs":{"a":["3",0]}},'
    b'"3":{"inputs":{"a":["2",0],"b":["2",0],"c":["3",0]}}}',
    b'{"1":{"class_type":"LoraLoader","inputs":{"lora_name":{"a":"b"},"strength_model":true}}}',
    b'{"1":{"class_type":"LoraLoader","inputs":{"lora_name":"\\ud800\\u202e<script>\\u0000\\n"}}}',
    json.dumps(
        {str(i): {"class_type": "LoraLoader", "inputs": {"lora_name": f"{i}" * 900}} for i in range(900)}
    ).encode(),
    json.dumps({str(i): {"class_type": "X", "inputs": {}} for i in range(5000)}).encode(),
    "\ud800".encode("utf-8", "surrogatepass"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_graphs_give_bounded_settings_soon(tmp_path: Path, text: bytes) -> None:
    png = images.encode_png(face_picture(ADA, 1))
    (tmp_path / "a.png").write_bytes(with_text(png, text))
    began = time.monotonic()
    found = read_settings(tmp_path / "a.png")
    assert time.monotonic() - began < 2
    assert set(found) <= set(SETTINGS) and all(isinstance(v, str) and len(v) < 1000 for v in found.values())
    report = report_of(measure_folder(tmp_path, measures()), *SETTINGS, read=settings_below(tmp_path))
    to_json(report, [])
    assert "script" not in tags_of(to_html(report, advice(report)).decode("utf-8"))


def test_many_samplers_on_one_wide_node_take_no_time() -> None:
    """Every sampler walks the node's inputs again; 0.9 MB of that took a quarter of a minute."""
    samplers = {str(i): {"class_type": "KSampler", "inputs": {"positive": ["x", 0], "seed": 1}} for i in range(1900)}
    wide = {
        "class_type": "C",
        "inputs": {**{f"k{i}": ["x", 0] for i in range(32)}, **dict.fromkeys(map(str, range(70_000)))},
    }
    text = json.dumps({**samplers, "x": wide}, separators=(",", ":")).encode()
    assert len(text) < MAX_GRAPH
    began = time.process_time()
    assert settings_of(text) == {"seed": "1"}
    assert time.process_time() - began < 1


def test_a_file_that_is_mutated_at_random_never_raises(tmp_path: Path) -> None:
    rng, png = random.Random(16), with_text(images.encode_png(face_picture(ADA, 1)), graph())
    assert read_settings(write(tmp_path, png))["lora"] == "ada-000004.safetensors"
    for _ in range(500):
        data = bytearray(png[: rng.randrange(1, len(png))])
        for _ in range(rng.randrange(6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        assert set(read_settings(write(tmp_path, bytes(data)))) <= set(SETTINGS)


def write(folder: Path, data: bytes) -> Path:
    (folder / "m.png").write_bytes(data)
    return folder / "m.png"


def test_only_a_bounded_part_of_a_file_is_read(tmp_path: Path) -> None:
    png = images.encode_png(face_picture(ADA, 1))
    assert read_settings(write(tmp_path, with_text(png, b" " * MAX_GRAPH + graph()))) == {}
    chunks = png
    for i in range(100):
        chunks = with_text(chunks, b"x", key=f"k{i}".encode())
    assert read_settings(write(tmp_path, with_text(chunks, graph())))["seed"] == "7"  # ours is the first
    late = with_text(png, graph())
    for i in range(100):
        late = with_text(late, b"x", key=f"k{i}".encode())
    assert read_settings(write(tmp_path, late)) == {}


def test_settings_are_read_from_international_text_and_from_nothing_else(tmp_path: Path) -> None:
    png = images.encode_png(face_picture(ADA, 1))
    assert read_settings(write(tmp_path, with_text(png, b"\0\0\0\0" + graph(), kind=b"iTXt")))["seed"] == "7"
    assert read_settings(write(tmp_path, with_text(png, graph(), key=b"workflow"))) == {}
    assert read_settings(write(tmp_path, b"RIFFxxxxWEBP")) == {} and read_settings(tmp_path / "none.png") == {}
    assert settings_of(graph(lora="sub\\ada.safetensors"))["lora"] == "sub\\ada.safetensors"
