"""Finding a ComfyUI on this machine, and running one. Standard library only: dev.py uses it before "
"anything is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..errors import ServerError

PACK = Path(__file__).resolve().parents[2]
_EXE = "Scripts/python.exe" if os.name == "nt" else "bin/python"
_NOT_SHIPPED = shutil.ignore_patterns(".git", ".venv", "demo", "tests", "__pycache__", "node_modules")


def find_comfy() -> Path | None:
    """A ComfyUI checkout: COMFYUI_PATH, the folder the pack sits in, ~/comfy/ComfyUI (where comfy-cli puts it)."""
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named)] if named else [PACK.parents[1], Path.home() / "comfy" / "ComfyUI"]
    return next((p.resolve() for p in places if (p / "main.py").is_file() and (p / "folder_paths.py").is_file()), None)


def base_directory() -> Path | None:
    """The folder in COMFYUI_PATH where that is none, but one for ComfyUI's --base-directory: with models."""
    named = os.environ.get("COMFYUI_PATH")
    return Path(named).resolve() if named and not find_comfy() and (Path(named) / "models").is_dir() else None


def find_python(comfy: Path) -> Path | None:
    """The interpreter that has ComfyUI's requirements: COMFYUI_PYTHON, or one of the usual places beside it."""
    named = os.environ.get("COMFYUI_PYTHON")
    usual = [comfy / ".venv" / _EXE, comfy / "venv" / _EXE, comfy.parent / "python_embeded" / "python.exe"]
    usual += [comfy.parent / ".venv" / _EXE, comfy.parent / "venv" / _EXE, Path(sys.executable)]
    return next((p for p in ([Path(named)] if named else usual) if p.is_file() and _runs_comfy(p)), None)


def _runs_comfy(python: Path) -> bool:
    wanted = ("torch", "aiohttp", "safetensors", "av")
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {wanted!r})))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def has_gpu(python: Path) -> bool:
    code = "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def link_pack(custom_nodes: Path, name: str = "likeness") -> None:
    """Make this pack visible in a custom_nodes folder: a link, or a copy where links are not allowed."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    if (custom_nodes / name).exists():
        return
    try:
        (custom_nodes / name).symlink_to(PACK, target_is_directory=True)
    except OSError:
        shutil.copytree(PACK, custom_nodes / name, ignore=_NOT_SHIPPED)


class ComfyServer:
    """A ComfyUI of our own on a free port of 127.0.0.1, with its files under `base`.

    A context manager: the server is stopped on the way out, by its process id.
    """

    def __init__(
        self, comfy: Path, python: Path, base: Path, arguments: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> None:
        self._comfy, self._python, self._base = comfy, python, base
        self._arguments, self._env = list(arguments), env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def log(self) -> Path:
        return self._base / "comfyui.log"

    def __enter__(self) -> ComfyServer:
        self._base.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [self._python, self._comfy / "main.py", "--listen", "127.0.0.1", "--port", port]
        command += ["--base-directory", self._base, "--database-url", "sqlite:///:memory:", *self._arguments]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [str(c) for c in command], cwd=self._comfy, stdout=log, stderr=log, env={**os.environ, **self._env}
            )
        try:
            self._wait_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait_ready(self, seconds: float = 240.0) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI stopped while starting; its last lines: {self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        raise ServerError(f"ComfyUI did not answer within {seconds:.0f} s; see {self.log}.")

    def tail(self, lines: int = 8) -> str:
        """The log's last lines on one line."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
