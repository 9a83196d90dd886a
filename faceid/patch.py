"""Applying a compiled identity to a model: patches on a clone, and one decision per step of sampling.

The model is ComfyUI's ModelPatcher, used only through clone, model_options, wrappers,
set_model_attn2_replace and add_wrapper_with_key, so this file needs no ComfyUI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .attention import STEP_KEY, Attention, IdentityRows, LayerAttention, Step, rows_of
from .compiled import CompiledIdentity
from .errors import AdapterFamilyError, PatchError
from .layout import CrossAttention, cross_attentions, family_of_context

APPLY_MODEL = "apply_model"  # comfy.patcher_extension.WrappersMP.APPLY_MODEL
WRAPPER_KEY = "likeness"
_COMPILE_KEY = "torch.compile"  # comfy_api.torch_helpers
_OUTSIDE = Step((), ())


def apply_identity(
    model: Any,  # ComfyUI's ModelPatcher, left as it is
    compiled: CompiledIdentity,
    *,
    weight: float,  # strength of the face attention, 0 is off
    weight_v2: float = 1.0,  # strength of Plus V2's shortcut
    start: float = 0.0,  # 0..1 of the sampling range, start <= end, both inclusive
    end: float = 1.0,
    attention: Attention,  # comfy.ldm.modules.attention.optimized_attention
) -> Any:
    """A clone of the model in which every cross-attention also attends to the identity.

    A weight of 0 gives an unpatched clone. Identities can be applied one after the other.
    """
    _check_strengths(weight, weight_v2, start, end)
    check_family(model, compiled)
    patched = model.clone()
    if weight == 0:
        return patched
    ordinal = len(getattr(patched, "wrappers", {}).get(APPLY_MODEL, {}).get(WRAPPER_KEY, []))
    # The name is equal for equal graphs, since torch.compile keeps it as a constant.
    identity = IdentityRows(str(ordinal), compiled.at(weight, weight_v2))
    for place in cross_attentions(compiled.provenance.family):
        key, holder = _holder(patched.model_options, place)
        if isinstance(holder, LayerAttention):
            patch = holder.joined(identity)
        else:
            patch = LayerAttention(place.number, (identity,), attention, holder)
        patched.set_model_attn2_replace(patch, *key)
    patched.add_wrapper_with_key(APPLY_MODEL, WRAPPER_KEY, StepWrapper(identity, start, end))
    return patched


def check_family(model: Any, compiled: CompiledIdentity) -> str:
    """The base family of the model, when the identity was compiled for it; else AdapterFamilyError."""
    config = getattr(getattr(getattr(model, "model", None), "model_config", None), "unet_config", None) or {}
    if "context_dim" not in config:
        raise AdapterFamilyError(
            "This model has no text cross-attention of SD 1.5 or SDXL, so FaceID does not fit it. Use a "
            "checkpoint of one of these families, or the character's LoRA alone."
        )
    family, wanted = family_of_context(config["context_dim"]), compiled.provenance.family
    if family != wanted:
        raise AdapterFamilyError(
            f"The model is {family} and {compiled.provenance.adapter_name} is an adapter for {wanted}. Use "
            f"the {family} adapter for this character, or a {wanted} checkpoint."
        )
    count, expected = _count_layers(config), len(cross_attentions(family))
    if count not in (None, expected):
        raise AdapterFamilyError(
            f"The model has {count} cross-attentions, {family} has {expected}: it is a cut-down variant "
            "such as SSD-1B, which no FaceID adapter fits. Use a full checkpoint."
        )
    return family


@dataclass(frozen=True, eq=False)
class StepWrapper:
    """ComfyUI's APPLY_MODEL wrapper of one identity: decides window and rows once per call of the UNet."""

    identity: IdentityRows
    start: float  # 0..1
    end: float  # 0..1

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        options = dict(transformer_options or {})
        step = self._step(executor.class_obj, x, t, options)
        options[STEP_KEY] = {**options.get(STEP_KEY, {}), self.identity.name: step}
        if _COMPILE_KEY in options.get("wrappers", {}).get(APPLY_MODEL, {}):
            kwargs[self._structure(step, x)] = None
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def _step(self, base_model: Any, x: Tensor, t: Tensor, options: Mapping[str, Any]) -> Step:
        if not self._inside(base_model.model_sampling, options.get("sigmas", t)):
            return _OUTSIDE
        rows = rows_of(options.get("cond_or_uncond"))
        inference_dtype = getattr(base_model, "get_dtype_inference", None)
        dtype = inference_dtype() if inference_dtype else x.dtype
        return Step(rows, self.identity.arranged(rows, dtype, x.device))

    def _inside(self, sampling: Any, sigmas: Tensor) -> bool:
        """percent_to_sigma(end) <= sigma <= percent_to_sigma(start), by the model that is being sampled."""
        if self.start <= 0 and self.end >= 1:
            return True
        sigma = float(sigmas.flatten()[0])
        first, last = (float(sampling.percent_to_sigma(p)) for p in (self.start, self.end))
        return last <= sigma <= first

    def _structure(self, step: Step, x: Tensor) -> str:
        """A keyword that names the structure of the graph; UNetModel.forward ignores it.

        TorchCompileModel drops the guards on transformer_options, so a graph that was compiled without the
        identity would be used with it. Guards on the keywords stay.
        """
        rows = "".join(map(str, step.rows)) or "off"
        return f"likeness_{self.identity.name}_{rows}_{x.shape[0]}_{self.identity.tokens}"


def _check_strengths(weight: float, weight_v2: float, start: float, end: float) -> None:
    for name, value in (("weight", weight), ("weight_v2", weight_v2)):
        if not math.isfinite(value):
            raise PatchError(f"The FaceID {name} is {value}; give a number, usually 0 to 2.")
    if not 0 <= start <= end <= 1:
        raise PatchError(f"FaceID runs from {start} to {end} of the sampling; expected 0 <= start <= end <= 1.")


def _holder(model_options: Mapping[str, Any], place: CrossAttention) -> tuple[tuple[Any, ...], Any]:
    """Key to patch the layer under, and the patch that ComfyUI would call there now.

    ComfyUI looks for (block, id, depth), then for (block, id). Where a block holds one transformer only,
    other packs use the shorter key, so it is used here too and they find this patch instead of losing theirs.
    """
    held = model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    long, short = place.key, (place.block, place.id)
    if long in held:
        return long, held[long]
    return (short if place.alone else long), held.get(short)


def _count_layers(config: Mapping[str, Any]) -> int | None:
    """Transformers in the UNet as ComfyUI's detection lists them; None where it does not."""
    down, up, middle = (config.get("transformer_depth" + x) for x in ("", "_output", "_middle"))
    if not isinstance(down, list) or not isinstance(up, list) or not isinstance(middle, int):
        return None
    return sum(down) + sum(up) + max(middle, 0)
