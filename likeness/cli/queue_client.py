"""A client of ComfyUI's prompt queue: send a graph, wait, fetch what it made. Standard library only."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ServerError
from .graphs import ApiGraph

_POLL = 0.2  # seconds


@dataclass(frozen=True)
class Result:
    """What a finished graph left behind."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]  # node id -> what the node shows: "images", "text", ...

    def images(self) -> list[dict[str, str]]:
        """All pictures in node order, each {"filename", "subfolder", "type"}."""
        nodes = sorted(self.outputs, key=lambda n: [int(part) for part in re.findall(r"\d+", n)])  # "12", "12.0.0.3"
        return [image for node in nodes for image in self.outputs[node].get("images", [])]


class QueueClient:
    """One ComfyUI server."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout

    def object_info(self) -> dict[str, Any]:
        return self._json("/object_info")

    def queue(self, graph: ApiGraph) -> str:
        """Queue a graph; returns its prompt id. ServerError when any node of it is refused."""
        answer = self._json("/prompt", {"prompt": graph})
        if answer.get("node_errors"):  # HTTP 200 can carry these: the server drops such outputs and runs the rest
            raise ServerError("ComfyUI refused the graph: " + _node_errors(graph, answer["node_errors"]))
        return str(answer["prompt_id"])

    def run(self, graph: ApiGraph, seconds: float = 600.0, waiting: Callable[[float], None] = lambda s: None) -> Result:
        """Queue a graph and wait for it; `waiting` is called with the seconds so far."""
        prompt_id, begun, missing = self.queue(graph), time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            history = self._json(f"/history/{prompt_id}").get(prompt_id)
            if history and history.get("status", {}).get("completed"):
                return Result(prompt_id, history["outputs"])
            if history and history["status"]["status_str"] == "error":
                raise ServerError(f"The graph failed: {_failure(history['status']['messages'])}")
            missing = 0 if history or self._is_queued(prompt_id) else missing + 1
            if missing > 1:  # once may be the moment between queue and history
                raise ServerError(
                    f"ComfyUI at {self._url} no longer knows the graph: its queue was cleared, or it died."
                )
            waiting(elapsed)
            time.sleep(_POLL)
        raise ServerError(f"The graph was not finished after {seconds:.0f} s; it is still in the queue of {self._url}.")

    def fetch(self, image: dict[str, str]) -> bytes:
        return self._request("/view?" + urllib.parse.urlencode(image))

    def _is_queued(self, prompt_id: str) -> bool:
        queue = self._json("/queue")
        return any(prompt_id in entry for entry in (*queue.get("queue_running", ()), *queue.get("queue_pending", ())))

    def _json(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """ServerError for an answer that is no JSON object."""
        try:
            answer = json.loads(self._request(path, body))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ServerError(f"What answers at {self._url} is no ComfyUI: check the address.")
        return answer

    def _request(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise ServerError(f"ComfyUI at {self._url} answered {error.code}: {_reason(error.read(), body)}") from error
        except http.client.HTTPException as error:
            raise ServerError(f"ComfyUI at {self._url} broke off its answer: is it still running?") from error
        except (urllib.error.URLError, OSError) as error:
            raise ServerError(f"No ComfyUI answers at {self._url} ({error}): start it first.") from error


def _reason(answer: bytes, body: dict[str, Any] | None) -> str:
    try:
        told = json.loads(answer)
    except ValueError:
        return answer.decode(errors="replace")[:300]
    parts = [str(told.get("error", {}).get("message", told)) if isinstance(told, dict) else str(told)]
    if isinstance(told, dict) and body and told.get("node_errors"):
        parts.append(_node_errors(body["prompt"], told["node_errors"]))
    return " ".join(parts)


def _node_errors(graph: ApiGraph, errors: dict[str, Any]) -> str:
    lines = []
    for node, report in errors.items():
        title = graph.get(node, {}).get("_meta", {}).get("title", node)
        lines += [f"{title}: {e.get('message', '')} {e.get('details', '')}".strip() for e in report.get("errors", [])]
    return "; ".join(lines)


def _failure(messages: list[Any]) -> str:
    for kind, about in messages:
        if kind == "execution_error":
            return f"{about.get('node_type')}: {str(about.get('exception_message', '')).strip()}"
        if kind == "execution_interrupted":
            return "it was interrupted"
    return "no reason was given"
