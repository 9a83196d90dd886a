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
    assert not adapter.has_lora


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
    ],
)
def test_the_plus_v2_flag_comes_from_user_then_metadata_then_file_name(
    user: bool | None, metadata: dict[str, str], name: str, expected: tuple[bool, str]
) -> None:
    adapter = faceid.read_adapter(state_dict("sd15", "plus"), name=name, metadata=metadata, plus_v2=user)
    assert (adapter.plus_v2, adapter.plus_v2_from) == expected


def test_a_plus_file_that_does_not_tell_which_is_refused() -> None:
    with pytest.raises(faceid.AdapterFormatError, match="its name does not tell which"):
        faceid.read_adapter(state_dict("sd15", "plus"), name="plusv2/mine.bin")


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
    "unnorm or InstantID": (
        lambda s: {
            **{k: v for k, v in s.items() if k.startswith("ip")},
            "image_proj.latents": half(20480).reshape(1, 16, 1280),
            "image_proj.proj_in.weight": half(1).expand(1280, 512),
        },
        r"Portrait unnorm or InstantID\), which is not supported yet",
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
    with pytest.raises(faceid.AdapterFamilyError, match="Kolors"):
        faceid.read_adapter(nest(state), name="a.bin")


@pytest.mark.parametrize(("width", "message"), [(4096, "Kolors"), (1024, "1024 wide")])
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
