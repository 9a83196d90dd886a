"""Attack: a model, cache or character file runs code when it is opened.

Pickles (.pt, .bin, .npy with objects) run whatever they name; ComfyUI-KJNodes loaded a user-named
pickle until 2026-08. Likeness reads none, apart from one `torch.load` with `weights_only=True`.
"""

from __future__ import annotations

import ast
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from likeness import images
from likeness.archive import import_zip
from likeness.errors import LikenessError
from likeness.faces.codec import decode_faces
from likeness.hashes import FileHashes
from likeness.library import Library
from likeness.lora_file import read_info
from likeness.profile_toml import parse

ROOT = Path(__file__).resolve().parents[2]
PACK = ["likeness", "nodes", "faceid", "server"]


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def bad_files(marker: Path) -> dict[str, bytes]:
    evil = pickle.dumps(Payload(marker))
    array, zipped, torch_like = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    np.savez(zipped, a=np.array([Payload(marker)], dtype=object))
    with zipfile.ZipFile(torch_like, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
        archive.writestr("archive/version", "3")
    yaml = f"!!python/object/apply:pathlib.Path.touch [{marker}]".encode()
    return {
        "pickle": evil, "npy": array.getvalue(), "npz": zipped.getvalue(), "pt": torch_like.getvalue(),
        "yaml": yaml, "python": f"__import__('pathlib').Path({str(marker)!r}).touch()".encode(),
    }  # fmt: skip


KINDS = list(bad_files(Path("x")))


def test_the_payloads_of_this_test_work(tmp_path: Path) -> None:
    pickle.loads(bad_files(tmp_path / "ran")["pickle"])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_no_reader_runs_what_a_file_says(tmp_path: Path, library: Library, kind: str) -> None:
    marker = tmp_path / "ran"
    data = bad_files(marker)[kind]
    for suffix in (".safetensors", ".pt", ".zip", ".json"):
        (tmp_path / f"x{suffix}").write_bytes(data)
    attempts = [
        lambda: decode_faces(data),
        lambda: images.decode(data),
        lambda: parse(data),
        lambda: import_zip(library, tmp_path / "x.zip"),
        lambda: read_info(tmp_path / "x.safetensors"),
        lambda: read_info(tmp_path / "x.pt"),
        lambda: FileHashes(tmp_path / "x.json"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except LikenessError:
            pass
    assert not marker.exists() and library.slugs() == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["pickle", "pt"])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".safetensors"])
def test_an_adapter_file_runs_nothing(tmp_path: Path, kind: str, suffix: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from faceid import FaceIDError, load_adapter

    path, marker = tmp_path / f"ip-adapter-faceid_sd15{suffix}", tmp_path / "ran"
    path.write_bytes(bad_files(marker)[kind])
    with pytest.raises(FaceIDError):
        load_adapter(path)
    assert not marker.exists()


# ---- the source itself


def sources() -> Iterator[tuple[str, ast.Module]]:
    files = [ROOT / "__init__.py", *(p for folder in PACK for p in sorted((ROOT / folder).rglob("*.py")))]
    for path in files:
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, called or named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, (ast.Attribute, ast.Name)):
            yield node.lineno, dotted(node)


def found(forbidden: tuple[str, ...], except_under: str | tuple[str, ...] = "") -> list[str]:
    return [
        f"{file}:{line} {name}"
        for file, tree in sources()
        for line, name in uses(tree)
        if not (except_under and file.startswith(except_under))
        and any(name == f or name.startswith(f + ".") for f in forbidden)
    ]


def test_nothing_unpickles_or_evaluates() -> None:
    loaders = ("pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "np.load", "numpy.load")
    runners = ("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec")
    assert found((*loaders, *runners)) == []


def test_yaml_is_read_by_the_command_line_alone_and_safely() -> None:
    """ComfyUI's own extra_model_paths.yaml; nothing else is YAML."""
    assert found(("yaml",), except_under="likeness/cli/places.py") == []
    assert found(("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.UnsafeLoader")) == []


def test_no_process_is_started_and_no_environment_read_outside_the_command_line() -> None:
    processes = (
        "subprocess",
        "os.system",
        "os.popen",
        "os.exec",
        "os.execv",
        "os.execve",
        "os.spawnv",
        "pty",
        "multiprocessing",
    )
    surroundings = ("os.environ", "os.getenv", "os.putenv")
    assert found((*processes, *surroundings), except_under=("likeness/cli/", "likeness/remote/")) == []


def test_nothing_reaches_the_network_or_a_database_outside_the_command_line() -> None:
    network = (
        "urllib.request",
        "requests.get",
        "httpx",
        "socket.socket",
        "http.client",
        "aiohttp.ClientSession",
        "sqlite3",
    )
    assert found(network, except_under=("likeness/cli/", "likeness/remote/")) == []


def test_torch_load_is_called_once_and_safely() -> None:
    calls = [
        (file, node)
        for file, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and dotted(node.func) in ("torch.load", "load_torch_file", "comfy.utils.load_torch_file")
    ]
    loads = [(file, node) for file, node in calls if dotted(node.func) == "torch.load"]
    assert len(loads) == 1
    ((file, call),) = loads
    assert file.startswith("faceid/")
    flags = {k.arg: k.value for k in call.keywords}
    assert isinstance(flags["weights_only"], ast.Constant) and flags["weights_only"].value is True
