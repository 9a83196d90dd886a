"""`likeness report` on drawn pictures, with an analyser that reads them; also killed and resumed."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.cli.commands import _judge_options
from likeness.cli.places import Places, places_of
from likeness.cli.reporting import Shows, _stopped, add_report_options, report_folder
from likeness.create import NamedImage, create_character, draft
from likeness.errors import LikenessError
from likeness.library import Library
from likeness.report.finish import files_for
from likeness.report.measure import Progress

from ..fakes import FakeAnalyser, face_picture
from ..unit.report_pictures import ADA, BEN, NeverDrawn, graph, save, with_text

Call = Callable[..., tuple[int, str, str]]
PICTURES, MANY = 24, 96


class Slow(FakeAnalyser):
    """Notes the shot of every picture it is shown, so that a test knows what was analysed."""

    def __init__(self, log: Path | None = None, seconds: float = 0.0) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def analyse(self, image: images.RGB8) -> Any:
        time.sleep(self.seconds)
        found = super().analyse(image)
        if self.log is not None:
            with self.log.open("a") as f:
                f.write(f"{image[0, 1][1]}\n")  # the shot
        return found


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_report_options(parser)
    _judge_options(parser)
    for option in ("--library", "--face-models"):
        parser.add_argument(option)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args([str(word) for word in words])


def use(analyser: FakeAnalyser) -> None:
    """Let the command measure by it."""
    Places.analyser = lambda self, *args: analyser  # type: ignore[method-assign,assignment]
    Places.drawn_gate = lambda self, engine: NeverDrawn()  # type: ignore[method-assign,assignment,return-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two runs of a training, of which the second is more alike."""
    pictures = [NamedImage(f"photo {i}", face_picture(ADA, i)) for i in range(3)]
    create_character(Library([tmp_path / "library"]), draft("Ada"), pictures, FakeAnalyser())
    for i in range(PICTURES):
        lora, person = f"ada-{4 + i % 2 * 4:06d}.safetensors", BEN if i % 6 == 0 else ADA
        png = images.encode_png(face_picture(person, i + 10))
        path = tmp_path / "in" / ("park" if i < 10 else "street") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(with_text(png, graph(lora, seed=i)))
    (tmp_path / "in" / "broken.png").write_bytes(b"broken")
    return tmp_path / "in"


@pytest.fixture
def call(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setattr(Places, "analyser", Places.analyser)
    monkeypatch.setattr(Places, "drawn_gate", Places.drawn_gate)
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "no-comfyui"))

    def call(*words: object, analyser: FakeAnalyser | None = None) -> tuple[int, str, str]:
        use(analyser or FakeAnalyser())
        out = tmp_path / "out" / "report.json"
        arguments = parsed(folder, "--character", "Ada", "--out", out, "--library", tmp_path / "library", *words)
        code = report_folder(arguments, places_of(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def told(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    values["about"].pop("made")
    return values


def test_a_folder_gives_json_and_a_page_and_an_answer_in_words(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("--threshold", "0.3", "--group", "lora", "--group", "folder")
    assert code == 0
    assert "Consistency 0.83: 20 of 24 measurable pictures are accepted" in out
    assert "Best lora: ada-000008.safetensors" in out and "Best folder:" in out
    values = told(tmp_path / "out" / "report.json")
    assert values["summary"]["accepted"] == 20 and values["summary"]["not_readable"] == 1
    assert values["about"]["band_source"] == "set by hand" and values["about"]["source"] == "in"
    assert [g["value"] for g in values["groups"]["lora"]["ranking"]] == [
        "ada-000008.safetensors",
        "ada-000004.safetensors",
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    assert str(tmp_path) not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_out_may_name_the_page(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("--threshold", "0.3", "--out", tmp_path / "page" / "mine.html")
    assert code == 0 and sorted(p.name for p in (tmp_path / "page").iterdir()) == ["mine.html", "mine.json"]
    assert (tmp_path / "page" / "mine.html").read_bytes().startswith(b"<!doctype html>")
    assert told(tmp_path / "page" / "mine.json")["summary"]["accepted"] == 20 and "mine.html" in out


def test_json_for_programs_is_what_the_file_has(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("--json", "--threshold", "0.3")
    values = json.loads(out)
    values["about"].pop("made")
    assert code == 0 and values == told(tmp_path / "out" / "report.json")


def test_a_folder_without_a_measurable_picture_exits_with_1_and_a_full_report(call: Call, folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()
    code, out, _ = call()
    assert code == 1 and "There is no picture that could be read." in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--group", "nonsense"], "no grouping"),
        (["--style", "references"], "--style-model"),
        (["--threshold", "7"], "no cosine"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_measured(call: Call, words: list[str], part: str) -> None:
    analyser = FakeAnalyser()
    with pytest.raises(LikenessError, match=part):
        call(*words, analyser=analyser)
    assert analyser.calls == 0


def test_a_run_that_is_stopped_says_how_to_go_on_and_goes_on(call: Call, tmp_path: Path) -> None:
    class Stopping(FakeAnalyser):
        def analyse(self, image: images.RGB8) -> Any:
            if self.calls >= 12:
                raise KeyboardInterrupt
            return super().analyse(image)

    code, _, err = call("--threshold", "0.3", analyser=Stopping())
    assert code == 130 and "To go on, give the same command again" in err
    again = FakeAnalyser()
    code, _, err = call("--threshold", "0.3", analyser=again)
    assert code == 0 and "Going on:" in err and 0 < again.calls < PICTURES
    assert not (tmp_path / "out" / "report.json.part").exists()


def test_no_resume_measures_all_anew(call: Call, tmp_path: Path) -> None:
    analyser = FakeAnalyser()
    call(analyser=analyser)
    whole = told(tmp_path / "out" / "report.json")
    again = FakeAnalyser()
    call("--no-resume", analyser=again)
    assert again.calls == analyser.calls == PICTURES and told(tmp_path / "out" / "report.json") == whole


# ---- what is shown meanwhile


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
    """After 100 pictures of 400 in 20 seconds, of which 40 were there before."""
    clock = iter([0.0, 0.0, 20.0])
    monkeypatch.setattr("likeness.cli.reporting.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    shows = Shows()
    shows(Progress(40, 400, 40, {}, 0))
    shows(Progress(100, 400, 40, {"accepted": 90, "rejected": 8}, 2))
    shows.finish()
    return "100 of 400, 3.0 a second, 100 s left: 90 accepted, 8 rejected, 2 not readable".replace("100 s", "2 min")


def test_progress_is_one_line_on_a_terminal_and_plain_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = shown(monkeypatch, terminal=True)
    err = capsys.readouterr().err
    assert f"\r\033[K  {expected}" in err and err.endswith("\r\033[K")
    expected = shown(monkeypatch, terminal=False)
    err = capsys.readouterr().err
    assert err == f"Going on: 40 of 400 are done already.\n  {expected}\n"


# ---- a program that is killed


def started(tmp_path: Path, out: Path, seconds: float) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import importlib; t = importlib.import_module('tests.cli.test_report')\n"
        "t.work(*map(Path, sys.argv[2:5]), float(sys.argv[5]))"
    )
    root = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-c", code, root, tmp_path, out, tmp_path / "log", seconds]
    env = {**os.environ, "COMFYUI_PATH": str(tmp_path / "no-comfyui"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def work(tmp_path: Path, out: Path, log: Path, seconds: float) -> None:
    """What the other program does."""
    use(Slow(log, seconds))
    words = ["--character", "Ada", "--out", out, "--library", tmp_path / "library", "--threshold", 0.3]
    arguments = parsed(tmp_path / "in", *words, "--group", "lora")
    sys.exit(report_folder(arguments, places_of(arguments)))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def kept(journal: Path) -> set[int]:
    """Shots whose rows the journal has."""
    found = set()
    for line in journal.read_bytes().splitlines()[1:] if journal.exists() else ():
        try:
            found.add(int(Path(json.loads(line)["row"]["name"]).stem) + 10)
        except ValueError:  # half a line
            continue
    return found


def test_a_run_killed_again_and_again_gives_what_one_run_gives(folder: Path, tmp_path: Path) -> None:
    for i in range(PICTURES, MANY):
        save(folder / f"{i:03d}.png", ADA, i + 10)
    rng, out, whole = random.Random(5), tmp_path / "killed" / "r.json", tmp_path / "whole" / "r.json"
    log, journal, kills = tmp_path / "log", out.with_name("r.json.part"), 0
    finish(started(tmp_path, whole, 0.0))
    assert sorted(shots(log)) == list(range(10, 10 + MANY))
    while not out.exists():
        before = kept(journal)
        log.write_text("")
        process, some = started(tmp_path, out, 0.02), rng.randrange(1, 16)
        wait_until(lambda: process.poll() is not None or len(kept(journal)) >= len(before) + some)  # noqa: B023
        kills += process.poll() is None
        process.kill()
        process.wait()
        close(process)
        assert not before & set(shots(log))  # what an earlier run has kept is not analysed again
        assert out.exists() or before <= kept(journal)
        if kills == 5:
            finish(started(tmp_path, out, 0.0))
    assert kills >= 3
    assert told(out) == told(whole)
    assert out.with_suffix(".html").exists() and not journal.exists()


def finish(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def shots(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines()]


def lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def test_names_that_cannot_be_written_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(LikenessError, match="is a folder"):
        files_for(tmp_path / "taken.json")
    with pytest.raises(LikenessError, match="give two names"):
        files_for(tmp_path / "a.json", tmp_path / "a.json")


@pytest.mark.parametrize(("anew", "advice"), [(False, "command again"), (True, "command again without --no-resume")])
def test_the_advice_after_a_stop_does_not_throw_away_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], anew: bool, advice: str
) -> None:
    assert _stopped(files_for(tmp_path / "r.json"), Shows(), anew) == 130
    assert f"give the same {advice}." in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
def test_ctrl_c_stops_with_the_pictures_at_hand(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped" / "r.json"
    process = started(tmp_path, out, 0.5)
    wait_until(lambda: lines(out.with_name("r.json.part")) > 2)
    looked_at = lines(tmp_path / "log")
    process.send_signal(signal.SIGINT)
    code = process.wait(30)
    assert process.stderr is not None
    text = process.stderr.read()
    close(process)
    assert code == 130 and "give the same command again" in text and "Traceback" not in text
    assert lines(tmp_path / "log") <= looked_at + 3 < PICTURES
