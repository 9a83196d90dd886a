"""What `QueueClient` says when the server answers with something else than a result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from likeness.errors import ServerError
from likeness.remote import client as client_module
from likeness.remote.client import QueueClient

Serve = Callable[[dict[str, bytes]], QueueClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers paths by their beginning; an answer that ends in "..." breaks off."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, bytes]) -> QueueClient:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = next(data for path, data in answers.items() if self.path.startswith(path))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) + 100 * body.endswith(b"...")))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return QueueClient(f"http://127.0.0.1:{servers[-1].server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


QUEUED, NOTHING = b'{"prompt_id": "a"}', b'{"queue_running": [], "queue_pending": []}'


def test_a_server_that_forgot_the_graph_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_POLL", 0.01)
    client = serve({"/prompt": QUEUED, "/history": b"{}", "/queue": NOTHING})
    with pytest.raises(ServerError, match="no longer knows the graph"):
        client.run({}, seconds=60)


def test_a_graph_that_waits_in_the_queue_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_POLL", 0.01)
    waiting = b'{"queue_running": [], "queue_pending": [[1, "a", {}, {}, []]]}'
    client = serve({"/prompt": QUEUED, "/history": b"{}", "/queue": waiting})
    with pytest.raises(ServerError, match="still in the queue"):
        client.run({}, seconds=0.2)


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b"", b'{"a": ' * 100_000])
def test_a_server_that_is_no_comfyui_is_called_so(serve: Serve, answer: bytes) -> None:
    with pytest.raises(ServerError, match="is no ComfyUI"):
        serve({"/": answer}).object_info()


def test_an_answer_that_breaks_off_is_one_sentence(serve: Serve) -> None:
    with pytest.raises(ServerError, match="broke off its answer"):
        serve({"/view": b"half of a picture..."}).fetch({"filename": "x.png"})
