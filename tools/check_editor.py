"""Starts a ComfyUI with stand-in models and runs tools/editor.mjs on it.

    python tools/check_editor.py [check] [--only NUMBERS] [--shots DIR] [--front-end-root STATIC]
        opens each template from the dialog and runs it, in both renderers
    python tools/check_editor.py build
        writes example_workflows/ anew from api_graphs/

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import harness
import make_standins

UI = harness.PACK / "example_workflows"
STANDINS = (*harness.STANDINS, "standins_pictures.py", "standins_models.py")
CONTROLS = ("v11p_sd15_canny", "v11f1p_sd15_depth", "v11p_sd15_normalbae", "v11p_sd15_openpose", "v11p_sd15_seg")
# What the graphs name -> the stand-in that it is.
NAMED = {
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors": "checkpoints/standin_sd15.ckpt",
    "checkpoints/sd_xl_base_1.0.safetensors": "checkpoints/standin_sdxl.ckpt",
    "diffusion_models/flux-2-klein-base-4b-fp8.safetensors": "diffusion_models/standin_flux2.safetensors",
    "diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors": "diffusion_models/standin_wan.safetensors",
    "geometry_estimation/moge_2_vitl_normal_fp16.safetensors": "geometry_estimation/standin_moge.safetensors",
    "text_encoders/qwen_3_4b.safetensors": "text_encoders/standin_t5_base.bin",
    "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors": "text_encoders/standin_t5_base.bin",
    "upscale_models/RealESRGAN_x4plus.pth": "upscale_models/standin_4x.pth",
    "vae/flux2-vae.safetensors": "vae_approx/taef2_decoder.safetensors",  # to be listed; it draws by another name
    "vae/wan_2.1_vae.safetensors": "vae/standin_wan_vae.ckpt",
    **{f"controlnet/control_{name}_fp16.safetensors": "controlnet/standin_controlnet_sd15.pth" for name in CONTROLS},
}


def main() -> int:
    parser = harness.options(__doc__, ["check", "build"])
    parser.add_argument("--only", help="numbers of templates, with commas between: 02,07")
    given = parser.parse_args()

    def prepare(base: Path) -> harness.Words:
        if given.command == "check":
            name_models(base / "models")
            put_pictures(base / "input")
        words: harness.Words = [given.command, "--api", harness.PACK / "api_graphs", "--out", UI, "--base", base]
        return words + (["--only", given.only] if given.only else [])

    return harness.drive("editor.mjs", given, prepare, STANDINS)


def name_models(models: Path) -> None:
    """The stand-ins under the names that the graphs ask for, in the format that the name says."""
    import torch
    from safetensors.torch import save_file

    for name, standin in NAMED.items():
        wanted, made = models / name, models / standin
        same = made.with_suffix(wanted.suffix)
        if not same.exists():
            weights = torch.load(made, weights_only=True)
            save_file({key: value.clone() for key, value in weights.get("state_dict", weights).items()}, same)
        wanted.hardlink_to(same)
    make_standins.make(models, "sd15", seed=1, what=("character_lora",), character="my_character")  # to be compared


def put_pictures(folder: Path) -> None:
    """Three photos, also in a folder of their own, and one with a hole below, which is a mask."""
    from PIL import Image

    photos = sorted(harness.REFERENCES.glob("*.png"))[:3]
    (folder / "my_photos").mkdir(parents=True)
    for number, photo in enumerate(photos, 1):
        shutil.copy(photo, folder / f"photo_{number}.png")
        shutil.copy(photo, folder / "my_photos")
    with Image.open(photos[0]) as opened:
        picture = opened.convert("RGB").resize((96, 96))
    seen = Image.new("L", picture.size, 255)
    seen.paste(0, (0, 48, 96, 96))
    picture.putalpha(seen)
    picture.save(folder / "example.png")


if __name__ == "__main__":
    sys.exit(main())
