"""Which files a report is about, and what it remembers of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.errors import StorageError
from likeness.files import append_line
from likeness.report.folder import list_pictures, shown
from likeness.report.journal import Journal, Stamp
from likeness.report.measure import Progress, measure_folder
from likeness.report.rows import row_from

from ..fakes import FakeAnalyser
from .report_pictures import ADA, BEN, measures, row, save


def test_pictures_of_all_subfolders_are_found_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.PNG", "a/1.jpg", "a/deep/x.webp", "notes.txt", ".likeness-0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_pictures(tmp_path).pictures == ("a/1.jpg", "a/2.PNG", "a/deep/x.webp", "b.png")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no folder .*gone"):
        list_pictures(tmp_path / "gone")


def test_a_linked_file_counts_once_and_a_link_to_a_folder_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "sub" / "a.png", ADA)
    save(tmp_path / "elsewhere.png", ADA)
    (folder / "link.png").symlink_to(folder / "sub" / "a.png")
    (folder / "out1.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "out2.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "sub" / "round").symlink_to(folder)
    found = list_pictures(folder)
    assert found.pictures == ("out1.png", "sub/a.png") and found.outside == ("out1.png",)
    assert {x.name: x.reason for x in found.left_out} == {
        "gone.png": "a link that leads to no file",
        "link.png": "a link to sub/a.png, which counts already",
        "out2.png": "a link to out1.png, which counts already",
        "sub/round": "a link to a folder, which is not followed",
    }
    assert measure_folder(folder, measures()).outside == ("out1.png",)


def test_a_folder_that_comes_back_as_its_own_subfolder_is_walked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A junction of Windows is a plain folder to every question that can be asked of its entry."""
    save(tmp_path / "a.png", ADA)
    (tmp_path / "junction").symlink_to(tmp_path)
    monkeypatch.setattr("likeness.report.folder._is_folder", lambda entry, follow=False: entry.is_dir())
    found = list_pictures(tmp_path)
    assert found.pictures == ("a.png",) and [x.name for x in found.left_out] == ["junction/"]


def test_a_folder_that_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "closed" / "a.png", ADA)
    scandir = os.scandir

    def refuse(path: object) -> object:
        if Path(str(path)).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr("likeness.report.folder.os.scandir", refuse)
    (only,) = list_pictures(tmp_path).left_out
    assert (only.name, only.reason) == ("closed/", "the folder cannot be read: Permission denied")


@pytest.mark.skipif(os.name == "nt", reason="permissions are other ones on Windows")
def test_a_folder_whose_files_cannot_be_reached_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names can be read, nothing else: `r--`. The user who runs the tests may be allowed everything."""
    save(tmp_path / "closed" / "a.png", ADA)
    (tmp_path / "closed" / "b.png").symlink_to("a.png")
    for name in ("stat", "lstat"):
        monkeypatch.setattr(f"likeness.report.folder.os.{name}", refusing(getattr(os, name)))
    monkeypatch.setattr("likeness.files.open", refusing(open), raising=False)
    measured = measure_folder(tmp_path, measures())
    assert measured.rows == () and {x.name for x in measured.left_out} == {"closed/a.png", "closed/b.png"}


def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call; not for what lies in a folder "closed"."""

    def refuse(path: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and Path(path).parent.name == "closed":
            raise PermissionError(13, "Permission denied")
        return call(path, *rest, **options)

    return refuse


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("größe 大.png", "größe 大.png"),
        (os.fsdecode(b"x\xff.png"), "x\\xff.png"),
        ("a\nb\x1b[31m.png", "a\\x0ab\\x1b[31m.png"),
        ("a\u202egnp.png", "a\\u202egnp.png"),
    ],
)
def test_an_odd_name_is_shown_without_what_could_harm_a_terminal(name: str, text: str) -> None:
    assert shown(name) == text
    text.encode("utf-8")


# ---- the journal


def test_rows_come_back_with_their_stamps(tmp_path: Path) -> None:
    path, rows = tmp_path / "r.part", [row("a.png"), row(os.fsdecode(b"\xff\n.png"), None)]
    journal = Journal(path, "k")
    for i, r in enumerate(rows):
        journal.add(r, Stamp(i, 10**18 + i))
    assert Journal(path, "k").resume() == {r.name: (Stamp(i, 10**18 + i), r) for i, r in enumerate(rows)}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_half_a_line_at_the_end_loses_only_that_row(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.part"
    journal = Journal(path, "k")
    journal.add(row("a.png"), Stamp(1, 1))
    journal.add(row("b.png"), Stamp(1, 1))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, "k")
    expected = {"a.png"} | ({"b.png"} if cut == 1 else set())  # only the line end is gone
    assert set(again.resume()) == expected
    again.add(row("c.png"), Stamp(1, 1))
    assert set(Journal(path, "k").resume()) == expected | {"c.png"}


def test_another_key_begins_afresh(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.part", "k")
    journal.add(row(), Stamp(1, 1))
    assert Journal(tmp_path / "r.part", "other").resume() == {}
    assert not (tmp_path / "r.part").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"similarity": "0.5"}, {"similarity": float("inf")}, {"verdict": "fine"}, {"faces": True}, {"copy": 1},
        {"name": 5}, {"name": "x" * 9000}, {"extra": 1}, {"yaw": [1]}, {"faces": 10**400}, {"yaw": float("nan")},
        {"similarity": -1e8}, {"nearest_similarity": 2}, {"second": 1.1}, {"style": -7.0},
    ],
)  # fmt: skip
def test_a_row_that_somebody_changed_is_no_row(change: dict[str, object]) -> None:
    assert row_from(row().as_dict()) == row()
    assert row_from({**row().as_dict(), **change}) is None


def test_rows_of_another_folder_are_not_taken(tmp_path: Path) -> None:
    for person, name in ((ADA, "one"), (BEN, "two")):
        save(tmp_path / name / "a.png", person)
        with (tmp_path / name / "a.png").open("ab") as file:
            file.truncate(40_000)  # what follows the end of a PNG picture does not count
        os.utime(tmp_path / name / "a.png", ns=(1, 1))
    (tmp_path / "link").symlink_to(tmp_path / "one")
    path, key, first, again = tmp_path / "r.part", measures().key(), FakeAnalyser(), FakeAnalyser()
    measure_folder(tmp_path / "one", measures(first), Journal(path, key))
    assert str(tmp_path) not in path.read_text(encoding="ascii")
    assert len(measure_folder(tmp_path / "link", measures(again), Journal(path, key)).rows) == 1
    assert again.calls == 0, "it is the same folder"
    (row_of_two,) = measure_folder(tmp_path / "two", measures(again), Journal(path, key)).rows
    assert (row_of_two.verdict, again.calls) == ("rejected", 1)


def test_a_journal_of_rubbish_is_afresh(tmp_path: Path) -> None:
    path = tmp_path / "r.part"
    path.write_bytes(b"[" * 100_000 + b"\n\xff\xfe")
    assert Journal(path, "k").resume() == {}


def test_append_line_begins_a_file_and_says_where_it_cannot(tmp_path: Path) -> None:
    append_line(tmp_path / "new" / "x", b"a")
    append_line(tmp_path / "new" / "x", b"")
    assert (tmp_path / "new" / "x").read_bytes() == b"a\n\n"
    with pytest.raises(StorageError, match="Could not write"):
        append_line(tmp_path / "new", b"a")


# ---- measuring


def test_every_picture_gives_a_row_or_a_reason(tmp_path: Path) -> None:
    save(tmp_path / "a" / "ada.png", ADA)
    save(tmp_path / "ben.png", BEN)
    save(tmp_path / "nobody.png", None)
    (tmp_path / "empty.png").touch()
    (tmp_path / "old.gif").write_bytes(b"GIF89a")
    measured = measure_folder(tmp_path, measures())
    assert [(r.name, r.verdict) for r in measured.rows] == [
        ("a/ada.png", "accepted"),
        ("ben.png", "rejected"),
        ("nobody.png", "not measurable"),
    ]
    assert measured.rows[2].similarity is None and measured.rows[2].reason == "no face was found in the picture"
    assert sorted(x.name for x in measured.left_out) == ["empty.png", "old.gif"]
    assert not any(str(tmp_path) in x.reason for x in measured.left_out)


def test_a_second_run_measures_only_what_is_new_or_changed(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "in" / f"{i}.png", ADA, i)
    first, path = FakeAnalyser(), tmp_path / "r.part"
    key = measures().key()
    whole = measure_folder(tmp_path / "in", measures(first), Journal(path, key))
    save(tmp_path / "in" / "1.png", BEN)
    os.utime(tmp_path / "in" / "1.png", ns=(1, 1))
    save(tmp_path / "in" / "4.png", ADA)
    again = FakeAnalyser()
    seen: list[Progress] = []
    measured = measure_folder(tmp_path / "in", measures(again), Journal(path, key), seen.append)
    assert (first.calls, again.calls) == (4, 2)
    assert [r.verdict for r in measured.rows] == ["accepted", "rejected", "accepted", "accepted", "accepted"]
    assert measured.rows[0] == whole.rows[0]
    assert (seen[0].done, seen[0].resumed, seen[-1].done, seen[-1].total) == (3, 3, 5, 5)


@pytest.mark.parametrize("what", ["threshold", "references"])
def test_the_key_changes_with_what_decides_a_row(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measures().key()
    assert measures().key() == before
    if what == "threshold":
        assert measures(threshold=0.5).key() != before
    else:
        monkeypatch.setattr("likeness.report.measure.reference_digest", lambda character: "others")
        assert measures().key() != before


def test_a_file_that_changes_while_it_is_measured_is_listed(tmp_path: Path) -> None:
    save(tmp_path / "a.png", ADA)
    save(tmp_path / "b.png", ADA)

    class Slow(FakeAnalyser):
        def analyse(self, image):  # type: ignore[no-untyped-def]
            (tmp_path / "a.png").write_bytes(b"other")
            return super().analyse(image)

    measured = measure_folder(tmp_path, measures(Slow()))
    assert "a.png" in [x.name for x in measured.left_out]
    assert "b.png" in [r.name for r in measured.rows]


def test_a_file_that_vanishes_after_it_was_listed_is_listed(tmp_path: Path) -> None:
    save(tmp_path / "a.png", ADA)

    def vanish(now: Progress) -> None:
        (tmp_path / "a.png").unlink(missing_ok=True)

    measured = measure_folder(tmp_path, measures(), progress=vanish)
    assert measured.rows == () and "no such file" in measured.left_out[0].reason


def test_check_stops_a_run_and_what_is_done_stays(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / "in" / f"{i}.png", ADA, i)
    path, key = tmp_path / "r.part", measures().key()

    def stop(now: Progress) -> None:
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_folder(tmp_path / "in", measures(), Journal(path, key), stop)
    assert len(Journal(path, key).of(tmp_path / "in").resume()) == 3
