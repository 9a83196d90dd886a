from __future__ import annotations

import pytest

from likeness.assets import base_name, choose_adapter, choose_image_encoder, find_listed
from likeness.errors import ModelMissingError

# as published in h94/IP-Adapter-FaceID
PUBLISHED = [
    "ip-adapter-faceid-plus_sd15.bin",
    "ip-adapter-faceid-plus_sd15_lora.safetensors",
    "ip-adapter-faceid-plusv2_sd15.bin",
    "ip-adapter-faceid-plusv2_sd15_lora.safetensors",
    "ip-adapter-faceid-plusv2_sdxl.bin",
    "ip-adapter-faceid-plusv2_sdxl_lora.safetensors",
    "ip-adapter-faceid-portrait-v11_sd15.bin",
    "ip-adapter-faceid-portrait_sd15.bin",
    "ip-adapter-faceid-portrait_sdxl.bin",
    "ip-adapter-faceid_sd15.bin",
    "ip-adapter-faceid_sd15_lora.safetensors",
    "ip-adapter-faceid_sdxl.bin",
    "ip-adapter-faceid_sdxl_lora.safetensors",
]


@pytest.mark.parametrize(
    ("listed", "family", "chosen"),
    [
        (PUBLISHED, "sd15", "ip-adapter-faceid-plusv2_sd15.bin"),
        (PUBLISHED, "sdxl", "ip-adapter-faceid-plusv2_sdxl.bin"),
        (PUBLISHED, "flux", None),
        ([n for n in PUBLISHED if "plusv2" not in n], "sd15", "ip-adapter-faceid_sd15.bin"),
        ([n for n in PUBLISHED if "plusv2" not in n], "sdxl", "ip-adapter-faceid_sdxl.bin"),
        (["ip-adapter-faceid-plus_sd15.bin", "ip-adapter_sd15.safetensors"], "sd15", "ip-adapter-faceid-plus_sd15.bin"),
        (["ip-adapter-faceid-portrait_sd15.bin"], "sd15", "ip-adapter-faceid-portrait_sd15.bin"),
        ([n for n in PUBLISHED if "lora" in n], "sd15", None),
        (["plusv2/ip-adapter-faceid_sd15.bin", "x/ip-adapter-faceid-plusv2_sd15.bin"], "sd15",
        "x/ip-adapter-faceid-plusv2_sd15.bin"),
        (["faceid-plusv2_sd15.bin/ip-adapter_sd15.bin"], "sd15", None),
        (["a\\IP-Adapter-FaceID_SD15.safetensors"], "sd15", "a\\IP-Adapter-FaceID_SD15.safetensors"),
        ([], "sd15", None),
    ],
)  # fmt: skip
def test_the_best_published_adapter_is_chosen(listed: list[str], family: str, chosen: str | None) -> None:
    assert choose_adapter(listed, family) == chosen
    assert choose_adapter(listed[::-1], family) == chosen


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (PUBLISHED, "ip-adapter-faceid_sd15.bin"),
        ([n for n in PUBLISHED if "faceid_sd15" not in n], "ip-adapter-faceid-portrait_sd15.bin"),
        (["ip-adapter-faceid-plus_sd15.bin"], "ip-adapter-faceid-plus_sd15.bin"),
    ],
)
def test_without_face_crops_the_adapters_that_look_at_them_come_last(listed: list[str], chosen: str) -> None:
    assert choose_adapter(listed, "sd15", crops=False) == chosen


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (["CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors"], 0),
        (["CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors"], None),
        (["clip_vision_g.safetensors", "clip_vision_h.safetensors"], 1),
        (["SD1.5/model.safetensors"], None),
        ([], None),
    ],
)
def test_the_image_encoder_is_the_vit_h(listed: list[str], chosen: int | None) -> None:
    assert choose_image_encoder(listed) == (None if chosen is None else listed[chosen])


@pytest.mark.parametrize(("listed", "name"), [("a/b.bin", "b.bin"), ("a\\b.bin", "b.bin"), ("b.bin", "b.bin")])
def test_the_files_own_name(listed: str, name: str) -> None:
    assert base_name(listed) == name


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("a/x.bin", "a\\x.bin"), ("a\\x.bin", "a\\x.bin"), ("y.bin", "y.bin"), ("elsewhere/y.bin", "y.bin")],
)
def test_a_name_is_found_as_the_list_spells_it(wanted: str, found: str) -> None:
    assert find_listed(wanted, ["a\\x.bin", "y.bin"], "Adapter", "ipadapter", ["/m"]) == found


@pytest.mark.parametrize("wanted", ["z.bin", "q/x.bin"])
def test_a_missing_file_is_named_with_the_folders_and_the_nearest_names(wanted: str) -> None:
    with pytest.raises(ModelMissingError) as caught:
        find_listed(wanted, ["a/x.bin", "b/x.bin"], "Adapter", "ipadapter", ["/m1", "/m2"])
    text = str(caught.value)
    assert all(part in text for part in (wanted, "models/ipadapter", "/m1, /m2", "x.bin"))


def test_an_empty_folder_is_said_to_be_empty() -> None:
    with pytest.raises(ModelMissingError, match=r"no folder.*nothing"):
        find_listed("x.bin", [], "Adapter", "ipadapter", [])
