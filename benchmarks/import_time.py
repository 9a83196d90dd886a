"""How much the pack adds to ComfyUI's start: import, folder registration and all schemas, in fresh processes.

    python benchmarks/import_time.py [--runs 9]     with the Python that runs ComfyUI, or `.venv`

Prints milliseconds (min, median, max) and the share of the time that importing ComfyUI's own modules took
in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from likeness.cli.comfy import find_comfy  # noqa: E402

CODE = """
import asyncio, importlib.util, json, sys, time
sys.path.insert(0, sys.argv[1])
begun = time.perf_counter()
from comfy.cli_args import args
args.cpu = True
import comfy.sd, comfy.samplers, comfy.clip_vision, folder_paths, nodes
import comfy_config.config_parser, safetensors.torch, server  # what ComfyUI loads itself before custom nodes
from comfy_api.latest import io
comfy_ready = time.perf_counter()
init, folders = sys.argv[2] + "/__init__.py", [sys.argv[2]]
spec = importlib.util.spec_from_file_location("likeness_pack", init, submodule_search_locations=folders)
pack = importlib.util.module_from_spec(spec)
sys.modules["likeness_pack"] = pack
spec.loader.exec_module(pack)
async def load():
    extension = await pack.comfy_entrypoint()
    await extension.on_load()
    for node in await extension.get_node_list():
        node.GET_SCHEMA()
asyncio.run(load())
print(json.dumps([time.perf_counter() - comfy_ready, comfy_ready - begun]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    comfy = find_comfy()
    if comfy is None:
        sys.exit("Needs a ComfyUI: set COMFYUI_PATH.")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command, ours, shares = [sys.executable, "-c", CODE, str(comfy), str(ROOT)], [], []
    for run in range(parser.parse_args().runs + 1):
        ran = subprocess.run(
            command, capture_output=True, text=True, cwd=tempfile.gettempdir(), check=True, env=environment
        )
        pack, host = json.loads(ran.stdout.splitlines()[-1])
        if run:  # the first one writes byte code
            ours.append(pack * 1000)
            shares.append(pack / host)
    low, middle, high = min(ours), statistics.median(ours), max(ours)
    print(f"pack import + schemas: {low:.0f} ms min, {middle:.0f} ms median, {high:.0f} ms max")
    print(f"share of ComfyUI's own imports: {statistics.median(shares):.3f} median")


if __name__ == "__main__":
    main()
