"""What the panel shows and does, each action with a look at the disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..fakes import FakeAnalyser, face_picture
from .conftest import Panel, make_character


def slugs(panel: Panel) -> list[str]:
    return [c["slug"] for c in panel.get("/likeness/characters").json()["characters"]]


def test_the_list_tells_what_a_card_shows(panel: Panel) -> None:
    answer = panel.get("/likeness/characters")
    assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
    (card,) = answer.json()["characters"]
    assert (card["slug"], card["name"], card["references"], card["embedded"]) == ("ada", "Ada", 3, True)
    assert card["calibrated"] is False and len(card["thumbnail"]) == 16


def test_search_and_pages_take_a_part_of_the_list(panel: Panel, pack: Any) -> None:
    for i, name in enumerate(("Bea Stone", "Cleo Stone", "Dan")):
        make_character(pack, panel.backend, name, 20 + i, class_word="robot" if name == "Dan" else "")
    found = panel.get("/likeness/characters?search=stone&first=1&most=1").json()
    assert found["total"] == 2 and [c["name"] for c in found["characters"]] == ["Cleo Stone"]
    assert [c["slug"] for c in panel.get("/likeness/characters?search=ROBOT").json()["characters"]] == ["dan"]


def test_a_changed_profile_is_seen_at_once(panel: Panel) -> None:
    assert slugs(panel) == ["ada"]
    library = panel.backend.library()
    library.update("ada", lambda p: p.model_copy(update={"name": "Ada Ray"}))
    assert panel.get("/likeness/characters").json()["characters"][0]["name"] == "Ada Ray"
    library.trash("ada")
    assert slugs(panel) == []


def test_a_broken_profile_is_listed_with_its_reason(panel: Panel) -> None:
    (panel.backend.home / "characters" / "ada" / "profile.toml").write_text("name = 3")
    (card,) = panel.get("/likeness/characters").json()["characters"]
    assert "profile.toml" in card["error"] and card["references"] == 0
    assert panel.get("/likeness/characters/ada").status == 409


def test_a_page_tells_faces_spread_and_band_and_no_embedding(panel: Panel) -> None:
    answer = panel.get("/likeness/characters/ada")
    page = answer.json()
    first = page["references_list"][0]
    assert first["face"]["box"] == [16.0, 16.0, 48.0, 48.0] and first["outlier"] == ""
    assert 0.4 < first["similarity"] < 0.9 and page["spread"]["values"][0] == first["similarity"]
    assert page["band"]["calibrated"] is False and "Calibrate" in page["band"]["stale"]
    numbers = [v for v in _numbers(page)]
    assert len(numbers) < 60  # no vector of hundreds


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in _numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in _numbers(v)]
    return [float(value)] if isinstance(value, (int, float)) else []


def test_a_stranger_among_the_references_is_named(panel: Panel, pack: Any) -> None:
    create = pack("likeness.create")
    odd = [create.NamedImage("odd.png", face_picture(9, 0))]
    create.add_references(panel.backend.library(), "ada", odd, FakeAnalyser(), unlike=True)
    page = panel.get("/likeness/characters/ada").json()
    assert [bool(r["outlier"]) for r in page["references_list"]] == [False, False, False, True]


def test_thumbnails_are_ours_and_come_once(panel: Panel) -> None:
    first = panel.get("/likeness/characters/ada/thumbnail?size=32")
    assert first.headers["Content-Type"] == "image/jpeg" and first.headers["X-Content-Type-Options"] == "nosniff"
    assert Image.open(io.BytesIO(first.data)).size == (32, 32)
    again = panel.get("/likeness/characters/ada/thumbnail?size=32", {"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.data) == (304, b"")
    framed = panel.get("/likeness/characters/ada/thumbnail?reference=2&size=64&box=1")
    assert framed.status == 200 and not np.array_equal(_pixels(framed.data), _pixels(first.data))
    assert panel.get("/likeness/characters/ada/thumbnail?reference=3").status == 404


def _pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).resize((32, 32)))


def test_a_character_is_made_from_uploaded_pictures(panel: Panel) -> None:
    answer = panel.post("/likeness/characters", name="Zoë", images=["zoe_0.png", "zoe_1.png"], client_id="me")
    assert answer.json()["slug"] == "zoe" and slugs(panel) == ["ada", "zoe"]
    assert [e[0] for e in panel.backend.events] == ["likeness.progress", "likeness.progress", "likeness.changed"]
    assert [e[2] for e in panel.backend.events] == ["me", "me", "everybody"]
    more = panel.post("/likeness/characters/zoe/references", images=["zoe_2.png"])
    assert "1 picture(s) added, 3 in all" in more.json()["report"]


def test_a_change_is_told_to_every_browser_and_names_nobody(panel: Panel) -> None:
    for path, body in (("rename", {"name": "Bea"}), ("duplicate", {"name": "Zoe"})):
        assert panel.post(f"/likeness/characters/{slugs(panel)[0]}/{path}", client_id="me", **body).status == 200
    assert panel.backend.events == [("likeness.changed", {}, "everybody")] * 2


def test_what_cannot_be_made_says_why_and_leaves_nothing(panel: Panel) -> None:
    taken = panel.post("/likeness/characters", name="Ada", images=["zoe_0.png"])
    assert taken.status == 409 and "exists already" in taken.json()["error"]
    gone = panel.post("/likeness/characters", name="Bea", images=["nobody.png"])
    assert gone.status == 409 and "nobody.png" in gone.json()["error"]
    assert slugs(panel) == ["ada"]


def test_a_reference_that_is_removed_takes_its_face_with_it(panel: Panel) -> None:
    folder = panel.backend.home / "characters" / "ada"
    answer = panel.post("/likeness/characters/ada/remove_reference", file="references/002.png")
    assert "trash" in answer.json()["report"]
    page = panel.get("/likeness/characters/ada").json()
    assert [r["file"] for r in page["references_list"]] == ["references/001.png", "references/003.png"]
    assert b"references/002.png" not in (folder / "faces" / "buffalo_l.safetensors").read_bytes()
    assert (folder.parent / ".trash" / "ada-references" / "002.png").is_file()
    again = panel.post("/likeness/characters/ada/remove_reference", file="references/002.png")
    assert again.status == 409 and "any more" in again.json()["error"]


def test_calibrating_writes_the_band(panel: Panel) -> None:
    answer = panel.post("/likeness/characters/ada/calibrate", client_id="me")
    assert answer.status == 200, answer.json()
    page = panel.get("/likeness/characters/ada").json()
    assert page["band"]["calibrated"] and page["band"]["threshold"] > 0.2
    assert panel.get("/likeness/characters").json()["characters"][0]["calibrated"]


def test_copying_and_renaming_and_trashing(panel: Panel) -> None:
    assert panel.post("/likeness/characters/ada/duplicate", name="Ada Two").json()["slug"] == "ada_two"
    assert panel.get("/likeness/characters/ada_two").json()["references"] == 3
    assert panel.post("/likeness/characters/ada_two/duplicate", name="Ada").status == 409
    assert panel.post("/likeness/characters/ada_two/rename", name="Bea").json()["slug"] == "bea"
    assert slugs(panel) == ["ada", "bea"]
    assert "restore" in panel.post("/likeness/characters/bea/trash").json()["report"]
    assert slugs(panel) == ["ada"] and list((panel.backend.home / "characters" / ".trash").glob("bea-*"))


def test_export_and_import_bring_a_character_back(panel: Panel) -> None:
    made = panel.post("/likeness/characters/ada/export").json()
    archive = panel.backend.home / "output" / made["subfolder"] / made["filename"]
    (panel.backend.home / "input" / "ada.zip").write_bytes(archive.read_bytes())
    assert panel.post("/likeness/import", file="ada.zip").status == 409  # the name is taken
    assert panel.post("/likeness/import", file="ada.zip", name="Ada Back").json()["slug"] == "ada_back"


def test_delete_means_delete(panel: Panel, pack: Any) -> None:
    home = panel.backend.home
    cached = pack("likeness.faces.cache").CachedAnalyser(FakeAnalyser(), panel.backend.cache())
    cached.analyse(face_picture(1, 0))
    panel.post("/likeness/characters/ada/remove_reference", file="references/002.png")
    assert panel.post("/likeness/settings", delete_for_good=True).json()["delete_for_good"] is True
    panel.post("/likeness/characters/ada/remove_reference", file="references/003.png")
    assert not (home / "characters" / ".trash" / "ada-references" / "003.png").exists()
    text = panel.post("/likeness/characters/ada/trash").json()["report"]
    assert "1 entries of the cache" in text
    left = [p for p in home.rglob("*") if p.is_file() and ("ada" in str(p.relative_to(home)) or "cache" in p.parts)]
    assert [p for p in left if p.suffix != ".lock"] == []


def test_only_vectors_are_kept_where_the_user_says_so(panel: Panel, pack: Any) -> None:
    panel.post("/likeness/settings", keep_crops=False)
    panel.post("/likeness/characters", name="Zoe", images=["zoe_0.png", "zoe_1.png", "zoe_2.png"])
    stored = pack("likeness.character").read_faces(panel.backend.home / "characters" / "zoe", "buffalo_l")
    assert len(stored.named) == 3 and all(face.crop is None for _, face in stored.named)
    opened = pack("likeness.character").open_character(panel.backend.library(), "zoe")
    assert opened.has_crops and pack("likeness.crops").character_crops(opened).shape == (3, 224, 224, 3)


def test_only_vectors_are_kept_of_a_character_that_is_opened_imported_or_copied(panel: Panel, pack: Any) -> None:
    library, home = panel.backend.library(), panel.backend.home
    made = panel.post("/likeness/characters/ada/export").json()
    (home / "input" / "ada.zip").write_bytes((home / "output" / "likeness" / made["filename"]).read_bytes())
    panel.post("/likeness/settings", keep_crops=False)
    assert panel.post("/likeness/import", file="ada.zip", name="Eve").status == 200
    assert panel.post("/likeness/characters/ada/duplicate", name="Zoe").status == 200
    library.update("ada", lambda p: p.model_copy(update={"face_model": ""}))
    for path in (library.folder("ada") / "faces").iterdir():
        path.unlink()
    assert panel.post("/likeness/characters/ada/calibrate").status == 200  # looks at the pictures again
    for slug in ("ada", "eve", "zoe"):
        stored = pack("likeness.character").read_faces(home / "characters" / slug, "")
        assert len(stored.named) == 3 and all(face.crop is None for _, face in stored.named), slug


def test_settings_name_what_is_wrong(panel: Panel) -> None:
    for wrong in ({"provider": "tpu"}, {"keep_crops": "no"}, {"sudo": True}):
        answer = panel.post("/likeness/settings", **wrong)
        assert answer.status in (400, 409) and next(iter(wrong)) in answer.json()["error"]
    assert panel.get("/likeness/settings").json()["provider"] == "cpu"


def test_the_doctor_answers_with_rows_and_a_text(panel: Panel) -> None:
    found = panel.get("/likeness/doctor").json()
    assert {"status", "subject", "found", "remedy"} == set(found["checks"][0])
    assert found["text"].startswith("Likeness 0\n")


def test_the_doctor_says_what_a_graph_lacks(panel: Panel) -> None:
    loader = {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "sd15_.safetensors"},
        "_meta": {"title": "Big"},
    }
    apply = {
        "class_type": "LikenessApplyCharacter",
        "inputs": {"adapter": "ip-adapter-faceid_sd15.bin", "model": ["1", 0]},
    }
    found = panel.post("/likeness/doctor", graph={"1": loader, "2": apply}).json()
    first, second = found["needs"]
    assert (first["title"], first["folder"], first["there"]) == ("Big", "checkpoints", False)
    assert first["remedy"].startswith("Choose sd15.safetensors, which is there") and first["download"] is None
    assert second["download"]["licence"] == "non-commercial" and "models/ipadapter" in second["remedy"]
    assert found["text"].endswith("missing ipadapter/ip-adapter-faceid_sd15.bin, for LikenessApplyCharacter (adapter)")


def test_looking_writes_nothing(panel: Panel) -> None:
    before = {p: p.stat().st_mtime_ns for p in panel.backend.home.rglob("*")}
    for path in ("", "/ada", "/ada/thumbnail", "/ada/thumbnail?box=1", "/nobody"):
        panel.get(f"/likeness/characters{path}")
    panel.get("/likeness/doctor"), panel.get("/likeness/settings")
    assert {p: p.stat().st_mtime_ns for p in panel.backend.home.rglob("*")} == before


def test_a_fault_of_ours_is_one_sentence_without_a_path(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel.backend, "library", lambda: 1 / 0)
    answer = panel.get("/likeness/characters")
    assert answer.status == 500 and "division" not in answer.json()["error"]


def test_hostile_names_stay_text(panel: Panel, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    panel.post("/likeness/characters/ada/rename", name=name)
    answer = panel.get("/likeness/characters")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.data)["characters"][0]["name"] == name
