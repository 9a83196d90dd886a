"""Applying a compiled identity to a model: patches on a clone, and one decision per step of sampling.

The model is ComfyUI's ModelPatcher, used only through clone, model_options, wrappers, set_model_attn2_replace,
add_wrapper_with_key and add_callback_with_key, so this file needs no ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .attention import OUTSIDE, STEP_KEY, Attention, LayerAttention, Step, identity_step
from .compiled import CompiledIdentity
from .controls import Controls
from .errors import AdapterFamilyError
from .guests import snapshot
from .identity_rows import IdentityRows
from .layout import CrossAttention, cross_attentions, family_of_context
from .masks import check_mask
from .roles import NoteConds, NoteRoles, rows_of

# comfy.patcher_extension
APPLY_MODEL, PREDICT_NOISE, CALC_COND_BATCH = "apply_model", "predict_noise", "calc_cond_batch"
ON_CLONE = "on_clone"
WRAPPER_KEY = "likeness"
_COMPILE_KEY = "torch.compile"  # comfy_api.torch_helpers
_DEFAULTS = Controls()


def apply_identity(
    model: Any,  # ComfyUI's ModelPatcher, left as it is
    compiled: CompiledIdentity,
    controls: Controls = _DEFAULTS,
    *,
    mask: Tensor | None = None,  # float [H, W] or [F, H, W], 0..1, stretched over the picture; one per picture, or one
    attention: Attention,  # comfy.ldm.modules.attention.optimized_attention
) -> Any:
    """A clone of the model in which every cross-attention also attends to the identity.

    Strengths that turn it off give an unpatched clone. Identities can be applied one after the other, before and
    after nodes of IPAdapter_plus and InstantID. PatchError for an empty mask or one that holds no numbers.
    """
    check_family(model, compiled)
    pixels = None if mask is None else check_mask(mask)
    patched = model.clone()
    if controls.off:
        return patched
    applied = getattr(patched, "wrappers", {}).get(APPLY_MODEL, {}).get(WRAPPER_KEY, [])
    # The name is equal for equal graphs, since torch.compile keeps it as a constant.
    name = str(len(applied))
    identity = IdentityRows(name, compiled.at(controls), pixels, controls.match_ipadapter_plus)
    for place in cross_attentions(compiled.provenance.family):
        if identity.masters.active[place.number]:
            _patch(patched, place, identity, attention)
    patched.add_wrapper_with_key(APPLY_MODEL, WRAPPER_KEY, StepWrapper(identity, controls.start, controls.end))
    if not applied:
        patched.add_wrapper_with_key(PREDICT_NOISE, WRAPPER_KEY, NoteRoles())
        patched.add_wrapper_with_key(CALC_COND_BATCH, WRAPPER_KEY, NoteConds())
        patched.add_callback_with_key(ON_CLONE, WRAPPER_KEY, _own_patches)
    return patched


def _patch(model: Any, place: CrossAttention, identity: IdentityRows, attention: Attention) -> None:
    key, holder = _holder(model.model_options, place)
    if isinstance(holder, LayerAttention):
        patch = holder.joined(identity)
    else:
        patch = LayerAttention(place.number, (identity,), attention, snapshot(holder))
    model.set_model_attn2_replace(patch, *key)


def _own_patches(model: Any, clone: Any) -> None:
    """ComfyUI's ON_CLONE callback: what other packs add to a clone's patches must not reach the model it came from."""
    held = clone.model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn2", {})
    held.update({key: patch.own() for key, patch in held.items() if isinstance(patch, LayerAttention)})


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

    def _step(self, base_model: Any, x: Tensor, t: Tensor, options: dict[str, Any]) -> Step:
        if not self._inside(base_model.model_sampling, options.get("sigmas", t)):
            return OUTSIDE
        inference_dtype = getattr(base_model, "get_dtype_inference", None)
        dtype = inference_dtype() if inference_dtype else x.dtype
        return identity_step(self.identity, rows_of(options, x.shape[0]), x, options, dtype)

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
        if not step.rows:
            return f"likeness_{self.identity.name}_off"
        active = sum(1 << i for i, layer in enumerate(step.layers) if layer is not None)
        keys = next((pair[0].shape for pair in step.layers if pair is not None), ())
        gains = "" if step.gains is None else step.gains.structure
        shape = "x".join(map(str, (*x.shape, *keys[:2])))
        return f"likeness_{self.identity.name}_{''.join(map(str, step.rows))}_{shape}_{active:x}_{gains}"


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
