"""The layers of ARCHITECTURE.md and the style gates, read from the source.

nodes, server ──> faceid ──> torch
      cli ──────> likeness ──> stdlib, numpy, Pillow, pydantic, safetensors, filelock
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("likeness", "faceid", "nodes", "server")
OWN = {*LAYERS, "js", "tests", "tools"}
DOMAIN = {
    "numpy",
    "PIL",
    "pydantic",
    "safetensors",
    "filelock",
    "tomli",
    "tomllib",
}  # tomllib is tomli before Python 3.11
RUNTIMES = {"onnxruntime", "insightface"}  # each in one file below likeness/faces
COMFY = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "server", "execution", "aiohttp"}

MAX_FILE, MAX_P95_FUNCTION = 400, 40  # lines


@cache
def source(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


@cache
def files(*under: str) -> tuple[str, ...]:
    found = [p for folder in under for p in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(p.relative_to(ROOT).as_posix() for p in found if "__pycache__" not in p.parts)


def pack() -> list[str]:
    return ["__init__.py", *files(*LAYERS)]


def imports(file: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted module) of every import; ours begin with "<pack>."."""
    package = ["<pack>", *file.split("/")[:-1]]
    for node in ast.walk(source(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*module, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            yield node.lineno, name.value if isinstance(name, ast.Constant) else "<unknown>"


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def top(module: str) -> str:
    return module.split(".")[0]


def foreign(file: str) -> Iterator[tuple[int, str]]:
    """Imports from outside the pack and the standard library."""
    yield from ((n, m) for n, m in imports(file) if top(m) != "<pack>" and top(m) not in sys.stdlib_module_names)


def breaches(folder: str, allowed: set[str]) -> list[str]:
    return [f"{f}:{n} {m}" for f in files(folder) for n, m in foreign(f) if top(m) not in allowed]


def ours(file: str) -> Iterator[tuple[int, str]]:
    """Imports of our own modules, without the pack's name."""
    yield from ((n, m.removeprefix("<pack>.")) for n, m in imports(file) if top(m) == "<pack>")


def calls(file: str) -> Iterator[tuple[ast.Call, str]]:
    yield from ((n, dotted(n.func)) for n in ast.walk(source(file)) if isinstance(n, ast.Call))


# ---- layers


def test_the_reader_of_this_test_sees_the_pack() -> None:
    assert len(pack()) > 40 and len(list(ours("likeness/library.py"))) > 10


def test_the_domain_needs_neither_torch_nor_comfyui() -> None:
    assert breaches("likeness", DOMAIN | RUNTIMES | {"yaml", "aiohttp", "ray"}) == []


def test_yaml_belongs_to_the_command_line() -> None:
    """It reads ComfyUI's extra_model_paths.yaml; the pack itself reads no YAML."""
    assert {f for f in files("likeness") for _, m in foreign(f) if top(m) == "yaml"} == {"likeness/cli/places.py"}


@pytest.mark.parametrize(
    ("package", "file"), [("ray", "likeness/remote/on_ray.py"), ("aiohttp", "likeness/remote/progress.py")]
)
def test_what_only_the_queue_needs_is_imported_in_one_file(package: str, file: str) -> None:
    assert {f for f in files("likeness") for _, m in foreign(f) if top(m) == package} == {file}


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_a_face_runtime_is_imported_in_one_file(runtime: str) -> None:
    users = {f for f in files("likeness") for _, m in foreign(f) if top(m) == runtime}
    assert len(users) == 1
    assert all(f.startswith("likeness/faces/") for f in users)


def test_the_adapter_mathematics_needs_torch_only() -> None:
    assert breaches("faceid", {"torch", "safetensors", "numpy"}) == []


@pytest.mark.parametrize(
    ("layer", "never"), [("likeness", ("faceid", "nodes", "server")), ("faceid", ("likeness", "nodes", "server"))]
)
def test_a_lower_layer_knows_no_higher_one(layer: str, never: tuple[str, ...]) -> None:
    assert [f"{f}:{n} {m}" for f in files(layer) for n, m in ours(f) if top(m) in never] == []


def test_nodes_and_server_do_not_know_each_other() -> None:
    pairs = {"nodes": "server", "server": "nodes"}
    assert [f"{f}:{n} {m}" for a, b in pairs.items() for f in files(a) for n, m in ours(f) if top(m) == b] == []


def test_only_the_command_line_knows_the_command_line() -> None:
    """It and the queue's client are not in the published pack."""
    own = ("likeness/cli/", "likeness/remote/", "likeness/__main__.py")
    shipped = [f for f in pack() if not f.startswith(own)]
    private = ("likeness.cli", "likeness.remote")
    assert [f"{f}:{n} {m}" for f in shipped for n, m in ours(f) if m.startswith(private)] == []
    assert [f"{f}:{n} {m}" for f in files("likeness/remote") for n, m in ours(f) if m.startswith("likeness.cli")] == []


def test_folder_paths_is_asked_in_one_place() -> None:
    assert {f for f in pack() for _, m in foreign(f) if top(m) == "folder_paths"} <= {"nodes/host.py"}


def test_our_own_packages_are_imported_relatively() -> None:
    """ComfyUI loads the pack under a name of its own: `likeness.profile` twice would be two classes."""
    absolute = [f"{f}:{n} {m}" for f in pack() for n, m in imports(f) if top(m) in OWN - {"server", "nodes"}]
    assert absolute == []
    theirs = {"nodes", "server"}  # ComfyUI's modules of these names may be meant, in the adapters only
    assert [f for f in files("likeness", "faceid") for _, m in imports(f) if top(m) in theirs] == []


# ---- one place for each dangerous thing

WRITERS = {
    "os.replace", "os.rename", "os.renames", "os.mkdir", "os.makedirs", "os.remove", "os.unlink", "os.rmdir",
    "os.link", "os.symlink",
    "shutil.move", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.rmtree", "np.save",
    "np.savez",
    "torch.save", "save_file", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile", "tempfile.mkstemp",
}  # fmt: skip
WRITING_METHODS = {
    "write_text",
    "write_bytes",
    "mkdir",
    "unlink",
    "rmdir",
    "touch",
    "rename",
    "symlink_to",
    "hardlink_to",
}
ALSO_WRITE = ("likeness/files.py",)
COMMAND_LINE = "likeness/cli/"  # starts ComfyUI in folders of its own; not part of the published pack


def opens_for_writing(call: ast.Call, name: str) -> bool:
    if name != "open" and not name.endswith(".open"):
        return False
    modes = [*call.args[: 2 if name == "open" else 1], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(
        isinstance(m, ast.Constant) and isinstance(m.value, str) and set(m.value) & set("wax+") and len(m.value) < 4
        for m in modes
    )


def library_method(call: ast.Call, name: str) -> bool:
    """`library.rename(...)` and `entry.rename(...)` look alike; the library's take a slug and a name."""
    return name.endswith(".rename") and len(call.args) == 2


def test_only_one_module_writes_files() -> None:
    found = [
        f"{f}:{call.lineno} {name}"
        for f in pack()
        if f not in ALSO_WRITE and not f.startswith(COMMAND_LINE)
        for call, name in calls(f)
        if name in WRITERS
        or opens_for_writing(call, name)
        or ("." in name and name.rsplit(".", 1)[1] in WRITING_METHODS and not library_method(call, name))
    ]
    assert found == []


def test_only_one_module_decodes_pictures() -> None:
    assert {
        f for f in pack() for _, name in calls(f) if name in ("Image.open", "PIL.Image.open", "ImageFile.Parser")
    } == {"likeness/images.py"}


# ---- style


def functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in ast.walk(source(file)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {f: len((ROOT / f).read_text(encoding="utf-8").splitlines()) for f in [*pack(), "dev.py"]}
    assert {f: n for f, n in lengths.items() if n > MAX_FILE} == {}


def test_functions_are_short() -> None:
    lengths = sorted(length(f) for file in pack() for f in functions(file))
    assert statistics.quantiles(lengths, n=20)[-1] <= MAX_P95_FUNCTION


def unannotated(file: str) -> Iterator[str]:
    for function in functions(file):
        if function.name.startswith("_") and function.name != "__init__":
            continue
        a = function.args
        named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
        bare = [p.arg for p in named if p.annotation is None and p.arg not in ("self", "cls")]
        if bare or (function.returns is None and function.name != "__init__"):
            yield f"{file}:{function.lineno} {function.name} {', '.join(bare)}"


def test_every_public_function_is_annotated() -> None:
    assert [line for file in pack() for line in unannotated(file)] == []


def test_no_bare_exception_is_raised_or_swallowed() -> None:
    found = []
    for file in [*pack(), "dev.py", *files("tools")]:
        for node in ast.walk(source(file)):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and dotted(node.exc.func) in ("Exception", "BaseException")
            ):
                found.append(f"{file}:{node.lineno} raise Exception")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{file}:{node.lineno} bare except")
    assert found == []


def test_nothing_prints_but_programs() -> None:
    silent = [f for f in pack() if not f.startswith(COMMAND_LINE) and f != "likeness/__main__.py"]
    assert [f"{f}:{call.lineno}" for f in silent for call, name in calls(f) if name == "print"] == []


def test_nothing_is_done_at_import() -> None:
    """No call at module level that touches the disk or the network; constants may be computed."""
    found = []
    for file in pack():
        for statement in source(file).body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                found.append(f"{file}:{statement.lineno} {dotted(statement.value.func)}")
    assert found == []
