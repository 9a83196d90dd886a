"""The panel on a library that several people, programs and file managers work on, and that is large."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ..fakes import FakeAnalyser, face_picture
from .conftest import Panel, make_character

TRASH = "/likeness/characters/ada/trash"
REMOVE = "/likeness/characters/ada/remove_reference"


def folder_of(panel: Panel, slug: str = "ada") -> Path:
    return panel.backend.home / "characters" / slug


def stored(panel: Panel, pack: Any) -> Any:
    return pack("likeness.character").read_faces(folder_of(panel), "buffalo_l")


# ---- the list


def test_a_character_that_is_a_link_to_elsewhere_hides_no_other(panel: Panel, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder_of(panel).rename(elsewhere)
    make_character(panel.backend.pack, panel.backend, "Bea", 2)
    folder_of(panel).symlink_to(elsewhere, target_is_directory=True)
    cards = panel.get("/likeness/characters").json()["characters"]
    assert {c["slug"]: bool(c["error"]) for c in cards} == {"ada": True, "bea": False}


def test_a_card_says_of_the_profiles_own_face_model_whether_faces_are_stored(panel: Panel, pack: Any) -> None:
    faces = folder_of(panel) / "faces"
    (faces / "buffalo_l.safetensors").rename(faces / "antelopev2.safetensors")
    (card,) = panel.get("/likeness/characters").json()["characters"]
    assert (card["embedded"], panel.get("/likeness/characters/ada").json()["embedded"]) == (False, False)


def test_the_list_answers_while_every_change_waits(panel: Panel, monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    go = threading.Event()
    monkeypatch.setattr(panel.backend, "analyser", lambda pack: go.wait(20) and FakeAnalyser())

    async def ask() -> tuple[int, float]:
        import asyncio

        from .conftest import POST

        slow = [
            asyncio.ensure_future(panel.client.post("/likeness/characters/ada/calibrate", headers=POST, data="{}"))
            for _ in range(6)
        ]
        await asyncio.sleep(0.3)
        begun = time.perf_counter()
        try:
            answer = await asyncio.wait_for(panel.client.get("/likeness/characters"), 5)
            return answer.status, time.perf_counter() - begun
        finally:
            go.set()
            await asyncio.gather(*slow)

    status, took = panel.loop.run_until_complete(ask())
    assert status == 200 and took < 2


# ---- thumbnails


def test_thumbnails_in_memory_are_counted_in_bytes(panel: Panel, pack: Any) -> None:
    views = pack("server.views")
    views._thumbs.clear()
    for number in range(100):
        views._remember((Path("x"), number, 1024, False, "t"), bytes(1 << 20))
    assert sum(map(len, views._thumbs.values())) <= 40 << 20
    views._thumbs.clear()


def test_a_frame_comes_as_soon_as_the_face_is_stored(panel: Panel, pack: Any) -> None:
    path = "/likeness/characters/ada/thumbnail?reference=0&size=64&box=1"
    faces = folder_of(panel) / "faces" / "buffalo_l.safetensors"
    kept = faces.read_bytes()
    faces.unlink()
    bare = panel.get(path)
    time.sleep(0.02)  # the folder's time has to move
    faces.write_bytes(kept)
    framed = panel.get(path, {"If-None-Match": bare.headers["ETag"]})
    assert framed.status == 200 and framed.data != bare.data


def test_a_page_of_framed_tiles_opens_its_character_once(
    panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, opened = pack("server.views"), []
    real = views.open_character
    monkeypatch.setattr(views, "open_character", lambda *given: opened.append(given) or real(*given))
    for index in range(3):
        assert panel.get(f"/likeness/characters/ada/thumbnail?reference={index}&box=1").status == 200
    assert len(opened) == 1


# ---- taking away


def test_a_new_reference_under_an_old_name_is_not_removed_in_its_place(panel: Panel) -> None:
    shown = panel.get("/likeness/characters/ada").json()["references_list"][2]
    panel.post(REMOVE, file=shown["file"])  # another browser
    added = panel.post("/likeness/characters/ada/references", images=["zoe_0.png"], unlike=True)
    assert added.status == 200 and (folder_of(panel) / shown["file"]).is_file()
    answer = panel.post(REMOVE, file=shown["file"], thumbnail=shown["thumbnail"])
    assert answer.status == 409 and "look again" in answer.json()["error"]
    assert (folder_of(panel) / shown["file"]).is_file()


@pytest.mark.parametrize("file", ["profile.toml", "faces/buffalo_l.safetensors"])
def test_a_profile_from_elsewhere_that_calls_its_own_files_references_loses_none(
    file: str, panel: Panel, pack: Any
) -> None:
    reference = pack("likeness.profile").Reference(file=file)
    library = panel.backend.library()
    library.update("ada", lambda p: p.model_copy(update={"references": (*p.references, reference)}))
    panel.post("/likeness/settings", delete_for_good=True)
    assert panel.post(REMOVE, file=file).status == 200
    assert (folder_of(panel) / file).is_file() and len(stored(panel, pack).named) == 3
    assert panel.get("/likeness/characters/ada").json()["references"] == 3


def test_removing_that_failed_can_be_asked_for_again(panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    removal = pack("likeness.removal")

    def full(*given: Any) -> None:
        raise pack("likeness.errors").StorageError("The disk is full.")

    panel.post("/likeness/settings", delete_for_good=True)
    with monkeypatch.context() as patched:
        patched.setattr(removal, "write_faces", full)
        assert panel.post(REMOVE, file="references/002.png").status == 409
    assert panel.post(REMOVE, file="references/002.png").status == 200
    assert not (folder_of(panel) / "references" / "002.png").exists()


def test_nothing_is_deleted_for_good_that_was_to_go_to_the_trash(panel: Panel) -> None:
    panel.post("/likeness/settings", delete_for_good=True)  # another browser, while the question is open
    for path, body in ((TRASH, {}), (REMOVE, {"file": "references/002.png"})):
        answer = panel.post(path, for_good=False, **body)
        assert answer.status == 409 and "meanwhile" in answer.json()["error"]
    assert len(list((folder_of(panel) / "references").iterdir())) == 3
    assert panel.post(TRASH, for_good=True).status == 200 and not folder_of(panel).exists()


def test_deleting_one_leaves_the_trash_of_another_whose_name_goes_on_with_a_date(panel: Panel, pack: Any) -> None:
    for name in ("Ada-20260101", "Ada-2026010112"):
        make_character(pack, panel.backend, name, 3)
        slug = name.lower()
        panel.post(f"/likeness/characters/{slug}/remove_reference", file="references/002.png")
        panel.post(f"/likeness/characters/{slug}/trash")
    panel.post("/likeness/settings", delete_for_good=True)
    panel.post(TRASH)
    left = sorted(p.name for p in (panel.backend.home / "characters" / ".trash").iterdir())
    assert len(left) == 4 and left[0].startswith("ada-20260101-2") and left[1] == "ada-20260101-references"


def test_delete_means_delete_under_every_face_model_that_has_looked(panel: Panel, pack: Any) -> None:
    face, cache = pack("likeness.faces.face"), pack("likeness.faces.cache")
    other = face.Pipeline(pack="antelopev2", detector="e" * 64, recogniser="b" * 64)
    mine = cache.EmbeddingCache(panel.backend.home / "cache")
    faces = tuple(replace(f) for _, f in stored(panel, pack).named[:1])
    mine.put(face_picture(1, 0), other, faces)  # comparing with another character left it there
    mine.put(face_picture(8, 0), other, faces)  # of somebody else
    assert panel.post("/likeness/characters/ada/export").status == 200
    panel.post("/likeness/settings", delete_for_good=True)
    assert "1 entries of the cache" in panel.post(TRASH).json()["report"]
    assert mine.get(face_picture(1, 0), other) is None and mine.get(face_picture(8, 0), other) is not None
    assert not list((panel.backend.home / "output").rglob("ada*"))


def test_a_character_in_the_trash_is_restored_as_the_sentence_says(panel: Panel) -> None:
    text = panel.post(TRASH).json()["report"]
    moved, _, back = (
        text.removeprefix("ada was moved to ").removesuffix(" to restore it.").partition(": move it back to ")
    )
    Path(moved).rename(back)
    assert [c["error"] for c in panel.get("/likeness/characters").json()["characters"]] == [""]


# ---- copies


def test_what_file_managers_leave_is_not_copied(panel: Panel) -> None:
    (folder_of(panel) / "references" / ".DS_Store").write_bytes(b"x")
    assert panel.post("/likeness/characters/ada/duplicate", name="Bea").status == 200
    assert not (folder_of(panel, "bea") / "references" / ".DS_Store").exists()


def test_what_is_exported_can_be_copied(panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    removal = pack("likeness.removal")
    real = removal.read_limited
    monkeypatch.setattr(removal, "read_limited", lambda path, most: limits.append(most) or real(path, most))
    assert panel.post("/likeness/characters/ada/duplicate", name="Bea").status == 200
    assert set(limits) == {pack("likeness.archive").MAX_FILE}  # the faces of 500 references are 72 MB


def test_copying_and_renaming_into_one_another_lock_nobody_out(panel: Panel, pack: Any) -> None:
    make_character(pack, panel.backend, "Bea", 2)
    library, removal = panel.backend.library(), pack("likeness.removal")
    start = threading.Barrier(2)

    def run(action: Callable[[], Any]) -> None:
        for _ in range(30):
            start.wait(20)
            try:
                action()
            except pack("likeness.errors").LibraryError:
                pass  # the name is taken: that is the right answer

    both = [
        threading.Thread(target=run, args=(lambda: removal.duplicate(library, "bea", "Ada"),), daemon=True),
        threading.Thread(target=run, args=(lambda: library.rename("ada", "Bea"),), daemon=True),
    ]
    begun = time.perf_counter()
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(15)
    assert not any(thread.is_alive() for thread in both) and time.perf_counter() - begun < 15


# ---- settings and actions


def test_two_browsers_that_change_settings_lose_none(panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = pack("likeness.settings")
    path, real = panel.backend.settings_file(), settings.read_settings

    def slow(where: Path) -> Any:
        found = real(where)
        time.sleep(0.1)
        return found

    monkeypatch.setattr(settings, "read_settings", slow)
    changes: tuple[Mapping[str, Any], ...] = ({"keep_crops": False}, {"delete_for_good": True}, {"provider": "auto"})
    threads = [threading.Thread(target=settings.change_settings, args=(path, dict(c))) for c in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(path.read_bytes())
    assert (found["keep_crops"], found["delete_for_good"], found["provider"]) == (False, True, "auto")


def test_more_pictures_than_memory_holds_are_refused_before_they_are_read(
    panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = pack("server.actions")
    monkeypatch.setattr(actions, "MOST_PIXELS", 3 * 64 * 64, raising=False)
    read: list[Path] = []
    real = actions.images.read
    monkeypatch.setattr(actions.images, "read", lambda path: read.append(path) or real(path))
    names = [f"zoe_{i}.png" for i in range(5)] * 4
    answer = panel.post("/likeness/characters", name="Zoe", images=names)
    assert answer.status == 409 and "first 3" in answer.json()["error"] and len(read) == 4


def test_calibrating_tells_what_the_command_line_tells(
    panel: Panel, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = pack("likeness.create")
    odd = [create.NamedImage("odd.png", face_picture(9, 0))]
    create.add_references(panel.backend.library(), "ada", odd, FakeAnalyser(), unlike=True)
    opened = pack("likeness.character").open_character(panel.backend.library(), "ada")
    text = panel.post("/likeness/characters/ada/calibrate").json()["report"]
    assert opened.identity.advice() and all(sentence in text for sentence in opened.identity.advice())


# ---- the doctor


def graph_of(names: list[Any]) -> dict[str, Any]:
    return {str(i): {"class_type": "LoraLoader", "inputs": {"lora_name": name}} for i, name in enumerate(names)}


def test_a_graph_of_many_missing_files_does_not_hold_the_doctor_up(pack: Any) -> None:
    files = [f"lora_{i:05d}_character_something.safetensors" for i in range(5000)]
    begun = time.perf_counter()
    needs = pack("likeness.graph_needs").needs_of(
        graph_of([f"lora_{i}_charactr_somethng.safetensors" for i in range(60)]), lambda folder: files
    )
    assert len(needs) == 60 and all(need.remedy for need in needs)
    assert time.perf_counter() - begun < 8  # without a limit 30 s


def test_a_file_that_was_moved_to_a_folder_is_found(pack: Any) -> None:
    needs = pack("likeness.graph_needs").needs_of(
        graph_of(["Old\\ADA.safetensors"]), lambda folder: ["a.safetensors", "faces/people/of/mine/ada.safetensors"]
    )
    assert needs[0].remedy.startswith("Choose faces/people/of/mine/ada.safetensors")


def test_a_graph_with_a_list_for_a_title_is_answered(panel: Panel) -> None:
    nested: Any = "x"
    for _ in range(400):
        nested = [nested]
    graph = {"1": {"class_type": nested, "inputs": {"ckpt_name": "x.safetensors"}, "_meta": {"title": nested}}}
    answer = panel.post("/likeness/doctor", graph=graph)
    assert answer.status == 200 and answer.json()["needs"][0]["title"] == ""
