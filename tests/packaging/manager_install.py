"""Runs ComfyUI-Manager's own installer on a pack's folder, for the Python that runs this file; or takes the pack away.

python manager_install.py install|disable|uninstall FOLDER_WITH_THE_MANAGER COMFYUI PACK MANAGERS_FILES

The Manager's packages are seen by this process only, so that each `pip` it starts sees the environment alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

way, library, comfy, pack, files = sys.argv[1:]
sys.argv[1:] = []  # ComfyUI, which the Manager imports, reads them
sys.path += [library, comfy]
os.environ["COMFYUI_PATH"] = comfy

from comfyui_manager.common import cm_global, context  # noqa: E402

cm_global.pip_overrides = {}  # as its command line begins
cm_global.pip_blacklist = {"torch", "torchaudio", "torchsde", "torchvision"}
cm_global.pip_downgrade_blacklist = [*cm_global.pip_blacklist, "transformers", "safetensors", "kornia"]
context.update_user_directory(files)

from comfyui_manager.glob import manager_core  # noqa: E402

if way != "install":
    name, manager = Path(pack).name, manager_core.unified_manager
    manager.active_nodes[name] = ("0.1.0", pack)  # as it is listed after an install from the registry
    done = manager.unified_uninstall(name, False) if way == "uninstall" else manager.unified_disable(name, False)
    sys.exit(0 if done.result else str(done.msg))
from_registry = manager_core.unified_manager.execute_install_script("", pack, instant_execution=True)
from_git = manager_core.execute_install_script("", pack, instant_execution=True)
sys.exit(0 if from_registry and from_git else 1)
