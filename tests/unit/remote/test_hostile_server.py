"""A server that means harm, or is no ComfyUI: the run goes on, and nothing of what it says is believed too far."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from likeness.errors import ServerError
from likeness.remote import client as client_module
from likeness.remote.board import Board, Job
from likeness.remote.client import BadAnswerError, QueueClient, RefusedError, Result
from likeness.remote.folder import Folder, Request
from likeness.remote.inputs import expected_inputs
from likeness.remote.media import Media
from likeness.remote.progress import understood
from likeness.scenes.scene import Scene

from .conftest import Make
from .pretended_comfy import graph, png
from .test_generate import draw, drawn, scenes

Answer = Callable[[BaseHTTPRequestHandler], None]
HUGE = "1" + "0" * 400


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def says(text: str, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def test_a_server_cannot_send_us_on_to_another_one(serve: Callable[[Answer], str]) -> None:
    asked: list[str] = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        says("{}")(handler)

    inside = serve(other)

    def sends_on(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{inside}/secret")
        handler.end_headers()

    with pytest.raises(ServerError, match="answered 302"):
        QueueClient(serve(sends_on)).object_info()
    assert not asked


def test_a_body_that_never_ends_is_given_up(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_SLOWEST", 2, raising=False)

    def drips(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
            time.sleep(0.05)

    begun = time.monotonic()
    with pytest.raises(BadAnswerError, match="too slowly"):
        QueueClient(serve(drips), timeout=0.3).object_info()
    assert time.monotonic() - begun < 3


def test_an_answer_that_announces_too_much_is_not_read(serve: Callable[[Answer], str]) -> None:
    def announces(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10 << 30))
        handler.end_headers()

    with pytest.raises(BadAnswerError, match="sent more than"):
        QueueClient(serve(announces), timeout=2).fetch({"filename": "a.png"})


@pytest.mark.parametrize("queued", ["\ud800", "", "x" * 1000, "a\nb"])
def test_a_prompt_id_that_is_none_is_not_taken(serve: Callable[[Answer], str], queued: str) -> None:
    with pytest.raises(BadAnswerError, match="is no ComfyUI"):
        QueueClient(serve(says(json.dumps({"prompt_id": queued})))).queue({})


def test_numbers_that_no_float_holds_are_passed_over(serve: Callable[[Answer], str]) -> None:
    rows = f'[[{HUGE}, "a", {{}}], [1, "b", {{}}]]'
    queue = QueueClient(serve(says(f'{{"queue_running": [], "queue_pending": {rows}}}'))).waiting()
    assert set(queue.pending) == {"a", "b"}
    for value, most in ((HUGE, "4"), ("NaN", "4"), ("1", HUGE)):
        about = f'{{"prompt_id": "x", "value": {value}, "max": {most}}}'
        assert understood("s", f'{{"type": "progress", "data": {about}}}') is None


def test_a_refusal_of_a_node_whose_meta_is_empty_is_told(serve: Callable[[Answer], str]) -> None:
    told = {"error": {"message": "no"}, "node_errors": {"1": {"errors": [{"message": "bad", "details": "x"}]}}}
    with pytest.raises(RefusedError, match="1: bad x"):
        QueueClient(serve(says(json.dumps(told), 400))).queue({"1": {"class_type": "A", "inputs": {}, "_meta": None}})  # type: ignore[dict-item]


@pytest.mark.parametrize("most", ["y", float("inf"), float("nan"), 10**400])
def test_node_classes_of_another_form_do_no_harm(most: Any) -> None:
    row = {"input": {"required": {"x": ["INT", {}]}}, "min": most, "max": most}
    found = expected_inputs({"input": {"required": {"a": ["COMFY_AUTOGROW_V3", {"template": row}]}}}, {})
    assert len(found) <= 100
    for _ in range(20):
        row = {"input": {"required": {"x": ["COMFY_AUTOGROW_V3", {"template": row}]}}, "max": 100}
    assert expected_inputs({"input": {"required": {"a": ["COMFY_AUTOGROW_V3", {"template": row}]}}}, {}) == {}


def test_a_file_that_cannot_be_asked_for_is_lost_and_the_run_goes_on(pretend: Make, tmp_path: Path) -> None:
    server = pretend()

    def surrogate(request: web.Request) -> web.Response | None:
        prompt_id = request.path.rpartition("/")[2]
        entry = server.history.get(prompt_id) if request.path.startswith("/history") else None
        if not entry or "scene0" not in json.dumps(server.drawn):
            return None
        image = {"filename": "\ud800.png", "subfolder": ["a"], "type": "output"}
        outputs = {"9" * 5000: {"images": [image]}}
        return web.Response(
            text=json.dumps({prompt_id: {**entry, "outputs": outputs}}), content_type="application/json"
        )

    server.reply = surrogate
    manifest = draw([server], tmp_path, scenes(1))
    assert not manifest.pictures and "404" in manifest.missing[0].reason
    assert Result("a", {"1": {"images": [{"filename": "a.png", "evil": {}}]}}).images() == [{"filename": "a.png"}]


# ---- two servers for one job


def two() -> tuple[Board, Any]:
    board = Board(["a", "b"])
    for key in ("one", "two"):
        board.add(Job(key, key, graph()))
        ticket = board.take("a")
        assert ticket
        board.sending(ticket.held, key)
        board.queued(ticket.held, key)
    board.held("a")[0].start()
    taken = board.wish("b")
    assert taken and taken.job.key == "two"
    return board, taken


def test_a_job_that_is_being_taken_away_is_not_given_back_by_its_first_server_too() -> None:
    board, taken = two()
    assert board.give_back(taken, "lost", "forgot it") is None
    assert board.take("a") is None and board.moved(taken, "b") is not None
    assert board.give_back(taken, "lost", "forgot it") is None
    assert board.take("a") is None and [h.job.key for h in board.held("b")] == ["two"]


def test_a_job_that_came_to_its_end_while_it_was_taken_away_is_not_drawn_again() -> None:
    board, taken = two()
    board.finish(taken)
    board.over(taken.job)
    board.put_aside("a")
    board.stays(taken, running=False)
    ticket = board.take("b")
    assert ticket and ticket.held.job.key == "one" and board.take("b") is None
    board, taken = two()
    board.finish(taken)
    assert board.moved(taken, "b") is None


# ---- names of files


def kept(folder: Folder, name: str, seed: int, count: int) -> list[Path]:
    request = Request(Scene(name=name, seed=seed, prompt=name), graph(seed, name))
    folder.ask(request)
    media = [Media(".png", png(f"{name} {seed} {k}")) for k in range(count)]
    folder.keep(request.job(), "http://x", "id", tuple(media))
    done = folder.done(request)
    assert done
    places = [folder.place(f.file) for f in done.files]
    assert [p.read_bytes() for p in places] == [m.data for m in media]
    return places


def test_the_second_picture_of_a_batch_is_not_written_over_by_another_scene(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.opened("g", "ada"):
        first = kept(folder, "a", 1, 2)
        before = [p.read_bytes() for p in first]
        more = [*kept(folder, "a_1", 2, 1), *kept(folder, "A", 1, 1)]
        assert [p.read_bytes() for p in first] == before
        assert len({str(p).casefold() for p in (*first, *more)}) == 4


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..", "a\\..\\b", "C:x", "nul", "x" * 199, "é" * 150, " "])
def test_a_scene_that_is_called_a_path_is_kept_beside_the_others(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path / "run")
    with folder.opened("g", "ada"):
        (place,) = kept(folder, name, 1, 1)
    assert place.parent == tmp_path / "run" / "pictures" and not set("/\\:") & set(place.name)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_run_on_a_pretended_server_is_as_before(pretend: Make, tmp_path: Path) -> None:
    server = pretend()
    assert draw([server], tmp_path, scenes(2)).complete and server.drawn == drawn(2)
