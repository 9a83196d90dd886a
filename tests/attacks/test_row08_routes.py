"""Every route by every kind of request that a page of somebody else, an old browser, or a program may send."""

from __future__ import annotations

import io
import json
import resource
from typing import Any

import pytest

from ..server.conftest import POST, Panel, pack, panel  # noqa: F401 - fixtures

BODY = json.dumps({"name": "x"})
# name -> (headers, body, expected status for GET, expected for POST); None: whatever the handler says
CASES: dict[str, tuple[dict[str, str], Any, int | None, int | None]] = {
    "the panel": (POST, BODY, None, None),
    "a program": ({**POST, "User-Agent": "curl/8"}, BODY, None, None),
    "typed into the address bar": ({**POST, "Sec-Fetch-Site": "none"}, BODY, None, None),
    "plain text": ({**POST, "Content-Type": "text/plain"}, BODY, None, 415),
    "a form": ({**POST, "Content-Type": "application/x-www-form-urlencoded"}, "name=x", None, 415),
    "a multipart form": ({**POST, "Content-Type": "multipart/form-data; boundary=x"}, "--x--", None, 415),
    "json with a charset": ({**POST, "Content-Type": "application/json; charset=utf-8"}, BODY, None, 415),
    "no header of ours": ({"Content-Type": "application/json"}, BODY, None, 403),
    "another site": ({**POST, "Sec-Fetch-Site": "cross-site"}, BODY, 403, 403),
    "another port": ({**POST, "Sec-Fetch-Site": "same-site"}, BODY, 403, 403),
    "a sandboxed frame": ({**POST, "Origin": "null"}, BODY, 403, 403),
    "a large body": (POST, json.dumps({"name": "x" * 80_000}), None, 413),
    "no json": (POST, "{", None, 400),
    "a list": (POST, "[]", None, 400),
    "deep json": (POST, "[" * 30_000, None, 400),
}
SLUGS = ("ada", "..", "%2e%2e", "..%2f..%2fetc", "ada%00", "ADA", "a" * 65, "con", "ada%2fprofile.toml", "-x", "ådä")


def routes(pack: Any) -> list[Any]:  # noqa: F811
    return list(pack("server.routes").ROUTES)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_route_answers_every_kind_of_request_as_it_should(case: str, panel: Panel, pack: Any) -> None:  # noqa: F811
    headers, body, looking, changing = CASES[case]
    for route in routes(pack):
        path = route.path.replace("{slug}", "nobody")
        expected = looking if route.method == "GET" else changing
        answer = panel.ask(route.method, path, headers=headers, data=body if route.method == "POST" else None)
        if expected is None:
            assert answer.status in (200, 400, 404, 409), (case, route.path, answer.status)
        else:
            assert answer.status == expected, (case, route.method, route.path, answer.status)
    assert [c["slug"] for c in panel.get("/likeness/characters").json()["characters"]] == ["ada"]


def test_a_route_that_changes_something_is_never_a_get(pack: Any) -> None:  # noqa: F811
    views, actions = pack("server.views"), pack("server.actions")
    for route in routes(pack):
        where = views if route.method == "GET" or route.path == "/likeness/doctor" else actions
        assert getattr(where, route.handler.__name__, None) is route.handler, route.path


@pytest.mark.parametrize("slug", SLUGS[1:])
def test_a_slug_that_is_none_finds_nothing(slug: str, panel: Panel) -> None:  # noqa: F811
    before = sorted(panel.backend.home.rglob("*"))
    for tail in ("", "/thumbnail"):
        assert panel.get(f"/likeness/characters/{slug}{tail}").status == 404
    for tail in ("/trash", "/export", "/calibrate"):
        assert panel.post(f"/likeness/characters/{slug}{tail}").status in (404, 405)
    assert sorted(panel.backend.home.rglob("*")) == before


@pytest.mark.parametrize("name", ["../characters/ada/references/001.png", "/etc/passwd", "..\\x.png", "a\0b", "CON"])
def test_a_picture_outside_the_input_folder_is_not_read(name: str, panel: Panel) -> None:  # noqa: F811
    answer = panel.post("/likeness/characters", name="Bea", images=[name])
    assert answer.status == 409 and "root:" not in answer.json()["error"]
    assert panel.post("/likeness/import", file=name).status == 409


def test_a_body_of_20_mb_is_refused_without_being_kept(panel: Panel) -> None:  # noqa: F811
    data = b'{"name": "' + b"x" * (20 << 20) + b'"}'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert panel.ask("POST", "/likeness/characters", headers=POST, data=io.BytesIO(data)).status == 413
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 40  # MB; the client holds a copy


@pytest.mark.parametrize(
    "query", ["first=-1", "most=0", "most=99999999999", "first=1e3", "most=１", "size=1", "reference=x"]
)
def test_a_number_that_is_none_is_named(query: str, panel: Panel) -> None:  # noqa: F811
    path = "/likeness/characters" + ("/ada/thumbnail" if query.startswith(("size", "reference")) else "")
    answer = panel.get(f"{path}?{query}")
    assert answer.status == 400 and query.split("=")[0] in answer.json()["error"]
