"""Reading adapters: what is recognised, and what is refused with which sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from random_adapter import nested, state_dict
from torch import Tensor

import faceid

State = dict[str, Tensor]


@pytest.mark.parametrize(
    ("family", "kind", "tokens", "name", "variant", "v2_from"),
    [
        ("sd15", "mlp", 4, "ip-adapter-faceid_sd15.bin", "faceid", ""),
        ("sdxl", "mlp", 4, "ip-adapter-faceid_sdxl.bin", "faceid", ""),
        ("sd15", "mlp", 16, "ip-adapter-faceid-portrait-v11_sd15.bin", "faceid_portrait", ""),
        ("sdxl", "mlp", 16, "ip-adapter-faceid-portrait_sdxl.bin", "faceid_portrait", ""),
        ("sdxl", "resampler", 16, "ip-adapter-faceid-portrait_sdxl_unnorm.bin", "faceid_portrait_unnorm", ""),
        ("sd15", "plus", 4, "ip-adapter-faceid-plus_sd15.bin", "faceid_plus", "file name"),
        ("sd15", "plus", 4, "ip-adapter-faceid-plusv2_sd15.bin", "faceid_plus_v2", "file name"),
        ("sd15", "plus", 4, "FaceID Plus V2.safetensors", "faceid_plus_v2", "file name"),
    ],
)
def test_variants_are_recognised(family: str, kind: str, tokens: int, name: str, variant: str, v2_from: str) -> None:
    adapter = faceid.read_adapter(state_dict(family, kind, tokens=tokens), name=name)
    assert (adapter.family, adapter.variant, adapter.tokens) == (family, variant, tokens)
    assert adapter.plus_v2_from == v2_from
    assert adapter.needs_image_encoder == (kind == "plus")
    assert adapter.raw_embedding == (kind == "resampler")
    assert adapter.variant in faceid.VARIANTS
    assert not adapter.has_lora


UNNORM = "Portrait unnorm or InstantID, which have identical contents"


@pytest.mark.parametrize(
    ("user", "metadata", "name", "accepted"),
    [
        (None, {}, "ip-adapter-faceid-portrait_sdxl_unnorm.bin", True),
        (None, {}, "IP Adapter PORTRAIT.safetensors", True),
        (None, {}, "my unnorm.bin", True),
        (None, {}, "ip-adapter.bin", False),  # as InstantID publishes it
        (None, {}, "faceid/portrait/ip-adapter.bin", False),
        (None, {}, "instantid-ip-adapter-faceid.bin", False),
        (True, {}, "ip-adapter.bin", True),
        (False, {"portrait_unnorm": "true"}, "unnorm.bin", False),
        (None, {"portrait_unnorm": "true"}, "ip-adapter.bin", True),
        (None, {"portrait_unnorm": "False"}, "unnorm.bin", False),
        (None, {"portrait_unnorm": "maybe"}, "unnorm.bin", True),
    ],
)
def test_portrait_unnorm_is_told_from_instantid_by_user_metadata_and_name(
    user: bool | None, metadata: dict[str, str], name: str, accepted: bool
) -> None:
    def read() -> faceid.Adapter:
        state = state_dict("sdxl", "resampler", tokens=16)
        return faceid.read_adapter(state, name=name, metadata=metadata, portrait_unnorm=user)

    if accepted:
        assert read().variant == "faceid_portrait_unnorm"
    else:
        with pytest.raises(faceid.AdapterFormatError, match=UNNORM):
            read()


def test_portrait_unnorm_for_sd15_was_never_published() -> None:
    state = state_dict("sd15", "resampler", tokens=16)
    with pytest.raises(faceid.AdapterFamilyError, match=r"Portrait unnorm for SD 1\.5, which was never published"):
        faceid.read_adapter(state, name="faceid-portrait_sd15_unnorm.bin")


RESAMPLER_BAD = {
    "flat latents": ("latents", (16, 1280), "no latents and norm_out"),
    "narrow latents": ("latents", (1, 16, 640), r"latents has shape \[1, 16, 640\], expected \[1, 16, 1280\]"),
    "many tokens": ("latents", (1, 65, 1280), "makes 65 tokens per face"),
    "no norm": ("norm_out.weight", (2048, 1), "no latents and norm_out"),
    "layer": ("layers.2.0.to_kv.weight", (1280, 1280), r"to_kv\.weight has shape \[1280, 1280\], expected \[2560"),
    "a fifth layer": ("layers.4.1.0.weight", (1280,), r"unknown tensor image_proj\.'layers\.4"),
    "images": ("proj_in.weight", (1280, 1280), "it is a plain IP-Adapter"),
}


@pytest.mark.parametrize("case", RESAMPLER_BAD)
def test_a_bad_resampler_gets_one_clear_sentence(case: str) -> None:
    key, shape, message = RESAMPLER_BAD[case]
    state = {**state_dict("sdxl", "resampler", tokens=16), f"image_proj.{key}": torch.zeros(shape)}
    with pytest.raises(faceid.AdapterFormatError, match=message):
        faceid.read_adapter(state, name="unnorm.bin")


def test_a_resampler_that_lacks_a_tensor_or_holds_nan_is_refused() -> None:
    state = state_dict("sdxl", "resampler", tokens=16)
    with pytest.raises(faceid.AdapterFormatError, match=r"lacks 1 of \d+ tensors, first image_proj\.proj_out\.bias"):
        faceid.read_adapter(without("image_proj.proj_out.bias")(state), name="unnorm.bin")
    with pytest.raises(faceid.AdapterFormatError, match="latents holds NaN"):
        faceid.read_adapter(poisoned("image_proj.latents", float("nan"))(state), name="unnorm.bin")


def test_nested_and_flat_state_dicts_are_the_same_adapter() -> None:
    flat = state_dict("sd15", rank=4)
    one, other = (faceid.read_adapter(x, name="a.bin") for x in (flat, nested(flat)))
    assert one.lora.keys() == other.lora.keys()
    assert one.has_lora
    assert len(one.lora) == 32 * 4 * 2
    assert all(torch.equal(a, b) for a, b in zip(one.key_weights, other.key_weights, strict=True))


@pytest.mark.parametrize(
    ("user", "metadata", "name", "expected"),
    [
        (False, {"plus_v2": "true"}, "plusv2.bin", (False, "user")),
        (True, {"plus_v2": "false"}, "plus.bin", (True, "user")),
        (None, {"plus_v2": "false"}, "plusv2.bin", (False, "metadata")),
        (None, {"plus_v2": "True"}, "mine.bin", (True, "metadata")),
        (None, {"plus_v2": "perhaps"}, "plusv2.bin", (True, "file name")),
        (None, {}, "plusv2-models/ip-adapter-faceid-plus_sd15.bin", (False, "file name")),
        (None, {}, r"plusv2\faceid-plus.bin", (False, "file name")),
        (None, {}, "faceidplus_sd15.bin", (False, "file name")),
    ],
)
def test_the_plus_v2_flag_comes_from_user_then_metadata_then_file_name(
    user: bool | None, metadata: dict[str, str], name: str, expected: tuple[bool, str]
) -> None:
    adapter = faceid.read_adapter(state_dict("sd15", "plus"), name=name, metadata=metadata, plus_v2=user)
    assert (adapter.plus_v2, adapter.plus_v2_from) == expected


@pytest.mark.parametrize("name", ["plusv2/mine.bin", "surplus.bin", "faceid-plus (v2).bin", "v2-faceid-plus.bin"])
def test_a_plus_file_that_does_not_tell_which_is_refused(name: str) -> None:
    with pytest.raises(faceid.AdapterFormatError, match="its name does not tell which"):
        faceid.read_adapter(state_dict("sd15", "plus"), name=name)


def test_plus_v2_cannot_be_claimed_for_a_file_without_resampler() -> None:
    with pytest.raises(faceid.AdapterFormatError, match="no image resampler"):
        faceid.read_adapter(state_dict("sd15"), name="a.bin", plus_v2=True)


def without(key: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def having(key: str, value: object) -> Callable[[State], State]:
    return lambda state: {**state, key: value}


def poisoned(key: str, value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        bad = state[key].clone()
        bad.view(-1)[-1] = value
        return {**state, key: bad}

    return change


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {k.replace(old, new): v for k, v in state.items()}


def half(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float16)


K9 = "ip_adapter.9.to_k_ip.weight"
BAD = {
    "no layers": (
        lambda s: {k: v for k, v in s.items() if k.startswith("image")},
        r"not a FaceID adapter: it has no ip_adapter section",
    ),
    "missing layer": (without(K9), r"lacks 1 of 32 tensors, first ip_adapter\.9\.to_k_ip"),
    "missing bias": (without("image_proj.norm.bias"), r"first image_proj\.norm\.bias"),
    "unknown tensor": (having("image_proj.extra", half(3)), r"unknown tensor image_proj\.'extra'"),
    "unknown section": (having("optimizer.x", half(3)), r"it holds the key 'optimizer\.x'"),
    "long foreign key": (having("x" * 5000, half(3)), r"it holds the key 'x{77}\.\.\.'"),
    "NaN": (poisoned(K9, float("nan")), r"9\.to_k_ip\.weight holds NaN"),
    "infinite": (poisoned("image_proj.norm.weight", float("inf")), r"norm\.weight holds NaN or infinite"),
    "wrong shape": (having(K9, half(8).reshape(2, 4)), r"9\.to_k_ip\.weight has shape \[2, 4\]"),
    "flat layer": (having(K9, half(8)), r"9\.to_k_ip\.weight has shape \[8\]"),
    "enormous layer": (having(K9, half(1).expand(10**9, 768)), r"has 1000000000 rows"),
    "enormous projection": (
        having("image_proj.proj.2.weight", half(1).expand(10**12, 1024)),
        r"makes \d+ tokens per face",
    ),
    "integers": (having(K9, torch.zeros(128, 768, dtype=torch.int8)), r"no plain float tensor \(torch\.int8"),
    "sparse": (having(K9, torch.zeros(128, 768).to_sparse()), r"no plain float tensor \(.*sparse"),
    "no memory behind": (having(K9, torch.empty(128, 768, device="meta")), r"no plain float tensor \(.*meta"),
    "not a tensor": (having(K9, [1, 2]), r"no plain float tensor \(list\)"),
    "half a LoRA": (
        having("ip_adapter.0.to_q_lora.down.weight", half(32 * 4).reshape(4, 32)),
        r"lacks 255 of 288 tensors",
    ),
    "plain IP-Adapter": (
        renamed("image_proj.proj.0.weight", "image_proj.proj.weight"),
        r"it is a plain IP-Adapter",
    ),
    "plain IP-Adapter full face": (having("image_proj.proj.3.weight", half(768)), r"plain IP-Adapter"),
    "plain IP-Adapter Plus": (
        lambda s: {
            **{k: v for k, v in s.items() if k.startswith("ip")},
            "image_proj.latents": half(12288).reshape(1, 16, 768),
            "image_proj.proj_in.weight": half(1).expand(768, 1280),
        },
        r"plain IP-Adapter",
    ),
    "no projection at all": (
        lambda s: {**{k: v for k, v in s.items() if k.startswith("ip")}, "image_proj.x": half(1)},
        r"no proj\.2 and norm",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_adapter_gets_one_clear_sentence(case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(faceid.AdapterFormatError, match=message) as caught:
        faceid.read_adapter(change(state_dict("sd15")), name="folder/some.bin")
    assert str(caught.value).startswith("some.bin")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(faceid.AdapterFormatError, match="no image_proj section"):
        faceid.read_adapter({}, name="a.bin")


@pytest.mark.parametrize("nest", [dict, nested])
def test_kolors_is_refused_by_name(nest: Callable[[State], object]) -> None:
    state = renamed("ip_adapter.", "adapter_modules.")(state_dict("sd15"))
    with pytest.raises(faceid.AdapterFamilyError, match=r"Kolors \(it holds adapter_modules\)"):
        faceid.read_adapter(nest(state), name="a.bin")


@pytest.mark.parametrize(("width", "message"), [(4096, r"Kolors \(its tokens are 4096 wide\)"), (1024, "1024 wide")])
def test_another_context_width_is_refused(width: int, message: str) -> None:
    state = state_dict("sd15")
    for key in ("norm.weight", "norm.bias"):
        state["image_proj." + key] = half(width)
    state["image_proj.proj.2.weight"] = half(1).expand(4 * width, 1024)
    with pytest.raises(faceid.AdapterFamilyError, match=message):
        faceid.read_adapter(state, name="a.bin")


def test_layers_of_another_family_are_refused() -> None:
    sd15, sdxl = state_dict("sd15"), state_dict("sdxl")
    mixed = {k: v for k, v in sd15.items() if k.startswith("image")}
    mixed |= {k: v for k, v in sdxl.items() if k.startswith("ip")}
    with pytest.raises(faceid.AdapterFormatError, match=r"expected \[64, 768\]|unknown tensor"):
        faceid.read_adapter(mixed, name="a.bin")
