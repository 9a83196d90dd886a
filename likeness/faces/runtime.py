"""onnxruntime: the only module that imports it, when the first session is opened."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from ..errors import ModelMissingError
from .onnx_graph import read_model

log = logging.getLogger(__name__)

PROVIDERS = ("auto", "cpu", "cuda")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
INSTALL = f"run: {sys.executable} -m pip install onnxruntime (with an NVIDIA card: onnxruntime-gpu)"
REPAIR = (
    "uninstall both with 'pip uninstall onnxruntime onnxruntime-gpu', then install one: "
    "'pip install onnxruntime-gpu' (macOS, or no NVIDIA card: 'pip install onnxruntime')"
)


class Port(Protocol):
    """One input or output of a model."""

    name: str
    shape: Sequence[int | str | None]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used."""

    def get_inputs(self) -> Sequence[Port]: ...

    def get_outputs(self) -> Sequence[Port]: ...

    def get_providers(self) -> Sequence[str]: ...

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any]) -> list[Any]: ...


@dataclass(frozen=True)
class RuntimeState:
    """What is installed of onnxruntime."""

    version: str  # "" where it cannot be imported
    distributions: tuple[str, ...]  # installed packages that share the module, "name version"
    providers: tuple[str, ...]  # compiled in; a session may still not get them
    problem: str  # one sentence with the remedy, "" when all is well
    usable: bool  # sessions can be opened


def runtime_state() -> RuntimeState:
    """Look at the installed onnxruntime without opening a model. Never raises."""
    packages = _distributions()
    try:
        import onnxruntime as module
    except Exception as error:  # a broken native library raises whatever it likes, OSError and SystemError too
        return RuntimeState("", packages, (), _import_problem(error, packages), False)
    version = str(getattr(module, "__version__", ""))
    if not hasattr(module, "InferenceSession"):
        problem = f"onnxruntime is damaged: two of its packages overwrote each other and the runtime is gone. {REPAIR}."
        return RuntimeState(version, packages, (), problem, False)
    providers = tuple(module.get_available_providers()) if hasattr(module, "get_available_providers") else (CPU,)
    return RuntimeState(version, packages, providers, _clash(packages, providers), True)


def _distributions() -> tuple[str, ...]:
    found = {}
    for item in importlib.metadata.distributions():
        name = str(item.metadata["Name"] or "").lower().replace("_", "-")
        if name == "onnxruntime" or name.startswith("onnxruntime-"):
            found[name] = f"{name} {item.version}"
    return tuple(found[name] for name in sorted(found))


def _import_problem(error: Exception, packages: tuple[str, ...]) -> str:
    if not packages:
        return f"onnxruntime, which runs the face models, is not installed: {INSTALL}."
    return f"onnxruntime cannot be loaded ({', '.join(packages)}; {error}): {REPAIR}."


def _clash(packages: tuple[str, ...], providers: tuple[str, ...]) -> str:
    if len(packages) < 2:
        return ""
    effect = "the GPU still shows" if CUDA in providers else "so faces run on the CPU only"
    return f"{' and '.join(packages)} are installed together and overwrite each other; {effect}. To repair: {REPAIR}."


def open_session(path: Path, provider: str = "auto", sha256: str = "") -> Session:
    """Open a model from its bytes, so that it cannot point at other files.

    `sha256`: what the file must hash to, where it is known already. Raises ModelMissingError.
    """
    if provider not in PROVIDERS:
        raise ModelMissingError(f"There is no provider {provider!r}: choose one of {', '.join(PROVIDERS)}.")
    module = usable_module()
    data = read_model(path)
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise ModelMissingError(f"{path} has changed since it was first looked at: start the program again.")
    options = module.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores alone
    try:
        session = module.InferenceSession(data, sess_options=options, providers=_wanted(module, provider))
    except Exception as error:  # onnxruntime's exceptions share no base class below Exception
        raise ModelMissingError(
            f"{path} is not a model that onnxruntime can open ({error}): download it again."
        ) from error
    obtained = tuple(session.get_providers())
    log.info("Opened the face model %s on %s.", path.name, obtained[0] if obtained else "no provider")
    if provider == "cuda" and CUDA not in obtained:
        log.warning("CUDA was asked for, but %s runs on %s: see 'likeness doctor'.", path.name, ", ".join(obtained))
    return session


def usable_module() -> ModuleType:
    """onnxruntime. ModelMissingError, with what to do, where it is missing or broken."""
    state = runtime_state()
    if not state.usable:
        raise ModelMissingError(state.problem)
    import onnxruntime

    return onnxruntime


def _wanted(module: ModuleType, provider: str) -> list[str | tuple[str, dict[str, str]]]:
    if provider == "cpu" or CUDA not in module.get_available_providers():
        return [CPU]
    if hasattr(module, "preload_dlls"):  # finds the CUDA libraries that torch brings
        module.preload_dlls()
    return [(CUDA, {"use_tf32": "0"}), CPU]  # TF32 would give other embeddings than the CPU
