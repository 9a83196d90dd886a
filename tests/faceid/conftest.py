"""Makes `faceid` and the helpers of this folder importable, and ComfyUI where there is one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's and torch's threads fight on small machines

import pytest
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# The repository's nodes/ must not shadow ComfyUI's nodes.py.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
sys.path.append(str(HERE))
if "faceid" not in sys.modules:
    where = ROOT / "faceid"
    spec = importlib.util.spec_from_file_location(
        "faceid", where / "__init__.py", submodule_search_locations=[str(where)]
    )
    sys.modules["faceid"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and sums do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def comfy_attention() -> Callable[..., Any]:
    """ComfyUI's optimized_attention, or a skip that says why there is none."""
    import comfy_unet

    if reason := comfy_unet.import_comfyui():
        pytest.skip(reason)
    from comfy.ldm.modules.attention import optimized_attention

    return optimized_attention
