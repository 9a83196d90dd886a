"""A client of one ComfyUI's prompt queue: send a graph, ask how it went, fetch what it made. Standard library only."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ServerError, printable, quoted
from ..inject.insert import ApiGraph

_POLL = 0.2  # seconds
_MAX_FILE, MAX_JSON = 1 << 30, 128 << 20  # bytes
_PIECE = 1 << 20  # bytes
_SLOWEST = 20  # of the time for one piece of an answer: until all of it has to be there
_MAX_WORDS = 300  # characters of a server's own words that are repeated
_SAVED = ("images", "gifs", "video", "audio")
_PLACE = ("filename", "subfolder", "type")
_MAX_ID = 200  # characters of a prompt id


class BadAnswerError(ServerError):
    """The server answers, but not as a ComfyUI that is well: an error of its own, or something that is no JSON."""


class RefusedError(ServerError):
    """The server is well and does not take this graph."""


class NotThereError(ServerError):
    """The server is well and has no such file."""


@dataclass(frozen=True)
class Result:
    """What a finished graph left behind."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]  # node id -> what the node shows: "images", "text", ...

    def images(self) -> list[dict[str, str]]:
        """All pictures in node order, each {"filename", "subfolder", "type"}."""
        return self._files("images")

    def saved(self) -> list[dict[str, str]]:
        """What the graph saved, films too; its previews where it saved nothing."""
        shown = self._files(*_SAVED)
        return [i for i in shown if i.get("type") == "output"] or [i for i in shown if i.get("type") == "temp"]

    def texts(self) -> dict[str, str]:
        """Node id -> the text that it shows."""
        shown = {node: _listed(output.get("text")) for node, output in self.outputs.items()}
        return {node: "\n".join(map(str, lines)) for node, lines in shown.items() if lines}

    def _files(self, *kinds: str) -> list[dict[str, str]]:
        nodes = sorted(self.outputs, key=lambda n: [int(p) for p in re.findall(r"\d{1,18}", n)])  # "12", "12.0.0.3"
        shown = [file for node in nodes for kind in kinds for file in _listed(self.outputs[node].get(kind))]
        named = [f for f in shown if isinstance(f, dict) and isinstance(f.get("filename"), str)]
        return [{key: f[key] for key in _PLACE if isinstance(f.get(key), str)} for f in named]


@dataclass(frozen=True)
class Failure:
    """Why a graph was not finished."""

    prompt_id: str
    reason: str  # "KSampler: out of memory"
    interrupted: bool = False  # by somebody who pressed cancel
    out_of_memory: bool = False


@dataclass(frozen=True)
class Queue:
    """Prompt ids on a server, anybody's."""

    running: tuple[str, ...]
    pending: tuple[str, ...]  # in the order in which they will run

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self.running or prompt_id in self.pending

    def __len__(self) -> int:
        return len(self.running) + len(self.pending)


def server_url(text: str) -> str:
    """An address as it is used and shown: "127.0.0.1:8188/" -> "http://127.0.0.1:8188". ServerError for none."""
    whole = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urllib.parse.urlsplit(whole)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or not c.isprintable() for c in whole):
        raise ServerError(f"{quoted(text)} is no address of a server: write it like http://127.0.0.1:8188.")
    if parts.username or parts.password:  # it would be written into manifests and shown
        raise ServerError(f"Leave user name and password out of the address of {parts.hostname}: they are not sent.")
    return whole.split("#")[0].split("?")[0].rstrip("/")


class QueueClient:
    """One ComfyUI server. Every call raises ServerError, of which these are kinds: BadAnswerError when it answers with
    an error of its own, RefusedError when the graph is at fault, NotThereError for a file that it does not have; a
    plain one when there is no answer within `timeout` seconds."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self._url, self._timeout = server_url(url), timeout

    @property
    def url(self) -> str:
        return self._url

    def object_info(self) -> dict[str, Any]:
        """Every node class of the server, by name, with its inputs."""
        return self._json("/object_info")

    def queue(
        self,
        graph: ApiGraph,
        prompt_id: str | None = None,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Queue a graph; returns its prompt id. RefusedError when any node of it is refused.

        `prompt_id`: a UUID to use. `client_id`: whose web socket hears of it. `metadata`: text chunks for the PNG
        files that it saves, by name, as JSON.
        """
        body: dict[str, Any] = {"prompt": graph}
        body |= {k: v for k, v in (("prompt_id", prompt_id), ("client_id", client_id)) if v}
        body |= {"extra_data": {"extra_pnginfo": dict(metadata)}} if metadata else {}
        answer = self._json("/prompt", body)
        queued = answer.get("prompt_id")
        if answer.get("node_errors"):  # HTTP 200 can carry these: the server drops such outputs and runs the rest
            if _is_id(queued):
                self.cancel([queued])
            raise RefusedError("ComfyUI refused the graph: " + _node_errors(graph, answer["node_errors"]))
        if not _is_id(queued):
            raise self._no_comfyui()
        return str(queued)

    def outcome(self, prompt_id: str) -> Result | Failure | None:
        """How a graph ended; None while it waits or runs, and when the server does not know it."""
        entry = self._json(f"/history/{urllib.parse.quote(prompt_id, safe='')}").get(prompt_id)
        if not entry:
            return None
        status = entry.get("status") if isinstance(entry, dict) else None
        outputs = entry.get("outputs") if isinstance(entry, dict) else None
        if not isinstance(status, dict) or not isinstance(outputs, dict):
            raise self._no_comfyui()
        if status.get("completed"):
            return Result(prompt_id, {str(k): v for k, v in outputs.items() if isinstance(v, dict)})
        if status.get("status_str") == "error":
            return _failure(prompt_id, status.get("messages"))
        return None

    def waiting(self) -> Queue:
        """What runs and what waits on the server."""
        answer = self._json("/queue")

        def ids(rows: object) -> tuple[str, ...]:
            found = [row for row in _listed(rows) if isinstance(row, list) and len(row) > 1]
            return tuple(str(row[1]) for row in sorted(found, key=lambda r: float(r[0]) if _is_number(r[0]) else 0.0))

        if "queue_running" not in answer or "queue_pending" not in answer:
            raise self._no_comfyui()
        return Queue(ids(answer["queue_running"]), ids(answer["queue_pending"]))

    def cancel(self, prompt_ids: Iterable[str]) -> Queue:
        """Take these out of the queue, and interrupt those of them that run; nobody else's. Returns what is left."""
        ids = list(prompt_ids)
        left = self.withdraw(ids)
        for prompt_id in ids:
            if prompt_id in left.running:
                self.request("/interrupt", {"prompt_id": prompt_id})
        return left

    def withdraw(self, prompt_ids: Iterable[str]) -> Queue:
        """Take these out of the queue unless they run already. Returns what is left."""
        self.request("/queue", {"delete": list(prompt_ids)})
        return self.waiting()

    def free(self) -> None:
        """Have the server give back its memory, before the next prompt."""
        self.request("/free", {"unload_models": True, "free_memory": True})

    def run(self, graph: ApiGraph, seconds: float = 600.0, waiting: Callable[[float], None] = lambda s: None) -> Result:
        """Queue a graph and wait for it; `waiting` is called with the seconds so far."""
        prompt_id, begun, missing = self.queue(graph), time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            outcome = self.outcome(prompt_id)
            if isinstance(outcome, Result):
                return outcome
            if isinstance(outcome, Failure):
                raise ServerError(f"The graph failed: {outcome.reason}")
            missing = 0 if prompt_id in self.waiting() else missing + 1
            if missing > 1:  # once may be the moment between history and queue
                raise ServerError(
                    f"ComfyUI at {self._url} no longer knows the graph: its queue was cleared, or it died."
                )
            waiting(elapsed)
            time.sleep(_POLL)
        raise ServerError(f"The graph was not finished after {seconds:.0f} s; it is still in the queue of {self._url}.")

    def fetch(self, image: Mapping[str, str]) -> bytes:
        """The bytes of a file that a graph made. NotThereError when it is gone."""
        return self.request("/view?" + urllib.parse.urlencode(image, errors="surrogatepass"), limit=_MAX_FILE)

    def _no_comfyui(self) -> BadAnswerError:
        return BadAnswerError(f"What answers at {self._url} is no ComfyUI: check the address.")

    def _json(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """BadAnswerError for an answer that is no JSON object."""
        try:
            answer = json.loads(self.request(path, body))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._no_comfyui()
        return answer

    def request(self, path: str, body: dict[str, Any] | None = None, limit: int = MAX_JSON) -> bytes:
        """The bytes of an answer of at most `limit`; every other call goes by this one."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with _OPENER.open(request, timeout=self._timeout) as answer:
                return self._received(answer, path, limit)
        except urllib.error.HTTPError as error:
            raise self._answered(error, path, body) from error
        except http.client.HTTPException as error:
            raise ServerError(f"ComfyUI at {self._url} broke off its answer: is it still running?") from error
        except (urllib.error.URLError, OSError) as error:
            raise ServerError(f"No ComfyUI answers at {self._url} ({error}): start it first.") from error

    def _received(self, answer: http.client.HTTPResponse, path: str, limit: int) -> bytes:
        """All of an answer. BadAnswerError when it is larger than `limit` bytes, or never ends."""
        length, received = answer.length, bytearray()
        end = time.monotonic() + _SLOWEST * self._timeout
        while (length or 0) <= limit and (piece := answer.read1(_PIECE)):
            received += piece
            if time.monotonic() > end:
                raise BadAnswerError(f"ComfyUI at {self._url} sends {path[:40]} too slowly: it was given up.")
            if len(received) > limit:
                break
        if max(length or 0, len(received)) > limit:
            raise BadAnswerError(f"ComfyUI at {self._url} sent more than {limit >> 20} MB for {path[:40]}.")
        if length is not None and len(received) < length:
            raise http.client.IncompleteRead(bytes(received), length - len(received))
        return bytes(received)

    def _answered(self, error: urllib.error.HTTPError, path: str, body: dict[str, Any] | None) -> ServerError:
        try:
            said = error.read(1 << 20)
        except (OSError, http.client.HTTPException):
            said = b""
        kind: type[ServerError] = BadAnswerError
        if error.code == 404 and path.startswith("/view"):
            kind = NotThereError
        elif error.code == 400 and path == "/prompt" and isinstance(_parsed(said), dict):
            kind = RefusedError
        return kind(f"ComfyUI at {self._url} answered {error.code}: {_reason(said, body)}")


ClientOf = Callable[[str, float], QueueClient]  # address, seconds for an answer


class _StaysHere(urllib.request.HTTPRedirectHandler):
    """A server that sends on to another address is not followed: whose prompts would go there?"""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_StaysHere)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e300


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_ID and value.isprintable()


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _parsed(answer: bytes) -> object:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _reason(answer: bytes, body: dict[str, Any] | None) -> str:
    told = _parsed(answer)
    if told is None:
        plain = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", answer.decode(errors="replace"), flags=re.S | re.I)
        return _words(plain)
    about = told.get("error", told) if isinstance(told, dict) else told
    parts = [_words(str(about.get("message", about) if isinstance(about, dict) else about))]
    if isinstance(told, dict) and body and told.get("node_errors"):
        parts.append(_node_errors(body.get("prompt", {}), told["node_errors"]))
    return " ".join(parts)


def _words(text: str) -> str:
    return printable(" ".join(text[: 20 * _MAX_WORDS].split()))[:_MAX_WORDS]


def _node_errors(graph: ApiGraph, errors: object) -> str:
    lines = []
    for node, report in errors.items() if isinstance(errors, dict) else ():
        title = (graph.get(node, {}).get("_meta") or {}).get("title", node)
        told = [e for e in _listed(report.get("errors") if isinstance(report, dict) else None) if isinstance(e, dict)]
        lines += [_words(f"{title}: {e.get('message', '')} {e.get('details', '')}") for e in told]
    return "; ".join(lines) or _words(str(errors))


def _failure(prompt_id: str, messages: object) -> Failure:
    for message in _listed(messages):
        kind, about = message if isinstance(message, list) and len(message) == 2 else (None, None)
        if kind == "execution_error" and isinstance(about, dict):
            said = _words(str(about.get("exception_message", "")))
            memory = "OutOfMemory" in str(about.get("exception_type")) or "out of memory" in said.lower()
            return Failure(prompt_id, f"{about.get('node_type')}: {said}", out_of_memory=memory)
        if kind == "execution_interrupted":
            return Failure(prompt_id, "it was interrupted", interrupted=True)
    return Failure(prompt_id, "no reason was given")
