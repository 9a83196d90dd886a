"""Runs ComfyUI-Manager's own installer on a pack's folder, for the Python that runs this file.

python manager_install.py FOLDER_WITH_THE_MANAGER COMFYUI PACK MANAGERS_FILES

The Manager's packages are seen by this process only, so that each `pip` it starts sees the environment alone.
"""

from __future__ import annotations

import os
import sys

library, comfy, pack, files = sys.argv[1:]
sys.argv[1:] = []  # ComfyUI, which the Manager imports, reads them
sys.path += [library, comfy]
os.environ["COMFYUI_PATH"] = comfy

from comfyui_manager.common import cm_global, context  # noqa: E402

cm_global.pip_overrides = {}  # as its command line begins
cm_global.pip_blacklist = {"torch", "torchaudio", "torchsde", "torchvision"}
cm_global.pip_downgrade_blacklist = [*cm_global.pip_blacklist, "transformers", "safetensors", "kornia"]
context.update_user_directory(files)

from comfyui_manager.glob import manager_core  # noqa: E402

from_registry = manager_core.unified_manager.execute_install_script("", pack, instant_execution=True)
from_git = manager_core.execute_install_script("", pack, instant_execution=True)
sys.exit(0 if from_registry and from_git else 1)
