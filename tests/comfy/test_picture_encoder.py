"""ComfyUI's image and text encoders give the vectors of the reference implementation (transformers), on small random
weights, and a pair that shares no space is refused."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ..conftest import ROOT, load_folder

WIDTH, JOINT, SIZE = 32, 32, 28
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": 7,
    "num_channels": 3,
    "hidden_act": "quick_gelu",
}
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "eos_token_id": 49407,
    "vocab_size": 49408,
}
# The matches of `PROMPTS` with `pictures()` under the weights of seed 5, as transformers 5.23 gives them.
PROMPTS = ("a woman in a red coat", "a man (smiling:1.3) at the sea", "a woman in a red coat")
RECORDED = (0.1957, 0.1255, -0.0689)


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_picture_pack", ROOT)
    names = ("nodes.picture_encoder", "likeness.errors", "likeness.style")
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_picture_pack.{n}") for n in names}
    return SimpleNamespace(**found)


def pictures(count: int = 3) -> list[np.ndarray]:
    """Of two sizes; smooth, so that one way of scaling is like another."""
    y, x = np.mgrid[:64, :64] / 64
    waves = [np.stack([np.sin(3 * x + i), np.cos(2 * y - i), np.sin(x * y * 4 + 2 * i)], axis=-1) for i in range(count)]
    made = [((w + 1) * 127).astype(np.uint8) for w in waves]
    return [np.ascontiguousarray(p[:48]) if i % 2 else p for i, p in enumerate(made)]


@pytest.fixture(scope="module")
def reference(comfy: Path) -> Any:
    """transformers' CLIPModel with small random weights."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(5)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=JOINT)
    model = transformers.CLIPModel(config).eval()
    for name, p in model.named_parameters():
        if name.endswith("weight") and p.ndim > 1:
            torch.nn.init.normal_(p, std=0.15)
    return model


def clip_vision(reference: Any, projection: bool = True) -> Any:
    import comfy.clip_vision

    config = {**VISION, "model_type": "clip_vision_model", **({"projection_dim": JOINT} if projection else {})}
    weights = {k: v for k, v in reference.state_dict().items() if k.startswith(("vision_model.", "visual_projection."))}
    if not projection:
        weights.pop("visual_projection.weight")
    return loaded(comfy.clip_vision.ClipVisionModel(config), weights)


def loaded(model: Any, weights: dict[str, torch.Tensor]) -> Any:
    missing, _ = model.load_sd({k: v.clone() for k, v in weights.items()})
    assert missing == []
    return model


class FakeClip:
    """What `comfy.sd.CLIP` is to us, around one text encoder."""

    def __init__(self, **encoders: Any) -> None:
        import comfy.model_patcher
        from comfy import sd1_clip

        stage = torch.nn.Module()
        for name, encoder in encoders.items():
            setattr(stage, name, encoder)
        stage.reset_clip_options = lambda: [e.reset_clip_options() for e in encoders.values()]  # type: ignore[assignment]
        self.cond_stage_model = stage
        cpu = torch.device("cpu")
        self.patcher = comfy.model_patcher.ModelPatcher(stage, load_device=cpu, offload_device=cpu)
        self._tokenizer = sd1_clip.SDTokenizer()
        self.asked: list[str] = []

    def load_model(self) -> None:
        pass

    def tokenize(self, text: str) -> dict[str, Any]:
        self.asked.append(text)
        return {"l": self._tokenizer.tokenize_with_weights(text), "g": self._tokenizer.tokenize_with_weights(text)}


def text_encoder(reference: Any, projection: torch.Tensor | None = None, **options: Any) -> Any:
    from comfy import sd1_clip

    encoder = sd1_clip.SDClipModel(textmodel_json_config=dict(TEXT), dtype=torch.float32, **options)
    weights = {k: v for k, v in reference.state_dict().items() if k.startswith("text_model.")}
    weights["text_projection.weight"] = reference.text_projection.weight if projection is None else projection
    missing, _ = encoder.load_sd({k: v.detach().clone() for k, v in weights.items()})
    assert missing == []
    return encoder


def reference_images(reference: Any, shown: list[np.ndarray], crop: bool) -> np.ndarray:
    """Vectors by transformers, of pictures (none is upright) scaled by torch alone."""
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    vectors = []
    for picture in shown:
        pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None] / 255
        across = round(SIZE * picture.shape[1] / picture.shape[0]) if crop else SIZE
        pixels = torch.nn.functional.interpolate(pixels, size=(SIZE, across), mode="bicubic", antialias=True).clip(0, 1)
        pixels = pixels[..., (across - SIZE) // 2 :][..., :SIZE]
        normed = (pixels - mean[:, None, None]) / std[:, None, None]
        with torch.no_grad():
            pooled = reference.vision_model(pixel_values=normed).pooler_output
            vectors.append(reference.visual_projection(pooled)[0].numpy())
    return np.stack(vectors)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_clips_vectors_are_those_of_transformers_for_pictures_of_any_size(pack: Any, reference: Any) -> None:
    encoder = pack.picture_encoder.PictureEncoder(clip_vision(reference), "ViT-tiny")
    vectors = encoder.embed(pictures())
    assert vectors.shape == (3, JOINT) and vectors.dtype == np.float32
    assert cosines(vectors, reference_images(reference, pictures(), crop=False)).min() > 0.999
    assert (encoder.name, encoder.joint_width) == ("ViT-tiny", JOINT)


def test_an_encoder_fits_where_an_image_embedder_is_wanted(pack: Any, reference: Any) -> None:
    encoder = pack.picture_encoder.PictureEncoder(clip_vision(reference))
    assert encoder.name == "clip"
    (picture,) = pictures(1)
    style = pack.style.style_of("waves", encoder, [lambda: (picture, ())])
    assert style.match(picture, []) == pytest.approx(1.0, abs=1e-6)


def test_more_pictures_than_one_pass_come_back_in_order(pack: Any, reference: Any) -> None:
    encoder, shown = pack.picture_encoder.PictureEncoder(clip_vision(reference)), pictures(20)
    together = encoder.embed(shown)
    for i in (0, 9, 19):
        np.testing.assert_allclose(together[i], encoder.embed([shown[i]])[0], atol=1e-5)


def test_siglips_vector_is_the_mean_of_its_normed_tokens(pack: Any, comfy: Path) -> None:
    import comfy.clip_vision

    transformers = pytest.importorskip("transformers")

    torch.manual_seed(6)
    config = {k: v for k, v in VISION.items() if k != "hidden_act"} | {"hidden_act": "gelu_pytorch_tanh"}
    theirs = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**config)).eval()
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    ours = comfy.clip_vision.ClipVisionModel({**config, **half, "model_type": "siglip_vision_model"})
    weights = {k if k.startswith("vision_model.") else f"vision_model.{k}": v for k, v in theirs.state_dict().items()}
    ours = loaded(ours, weights)
    (picture,) = pictures(1)
    encoder = pack.picture_encoder.PictureEncoder(ours)
    pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None] / 255
    pixels = torch.nn.functional.interpolate(pixels, size=(SIZE, SIZE), mode="bicubic", antialias=True)
    with torch.no_grad():
        tokens = theirs(pixel_values=(pixels - 0.5) / 0.5).last_hidden_state
    assert cosines(encoder.embed([picture]), tokens.mean(dim=1).numpy()).min() > 0.999
    assert (encoder.name, encoder.joint_width) == ("siglip", None)


def test_dinos_vector_is_the_normed_class_token(pack: Any, comfy: Path) -> None:
    import comfy.clip_vision

    transformers = pytest.importorskip("transformers")

    torch.manual_seed(7)
    config = {k: v for k, v in VISION.items() if k != "intermediate_size"} | {"hidden_act": "gelu", "mlp_ratio": 4}
    theirs = transformers.Dinov2Model(transformers.Dinov2Config(**config)).eval()
    own = {"model_type": "dinov2", "layer_norm_eps": 1e-6, "use_swiglu_ffn": False, "use_mask_token": True}
    as_published = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}
    weights = theirs.state_dict()
    for ours_now, published in {**as_published, "o_proj": "output.dense"}.items():  # transformers 5 renames them
        weights = {k.replace(f"attention.{ours_now}", f"attention.{published}"): v for k, v in weights.items()}
    ours = loaded(comfy.clip_vision.ClipVisionModel({**config, **own}), weights)
    (picture,) = pictures(1)
    mean, std = ours.image_mean, ours.image_std
    pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None] / 255
    pixels = torch.nn.functional.interpolate(pixels, size=(SIZE, SIZE), mode="bicubic", antialias=True)
    normed = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        expected = theirs(pixel_values=normed).last_hidden_state[:, 0].numpy()
    encoder = pack.picture_encoder.PictureEncoder(ours)
    assert cosines(encoder.embed([picture]), expected).min() > 0.999
    assert (encoder.name, encoder.joint_width) == ("dinov2", None)


def test_dinov3_which_gives_no_hidden_states_works(pack: Any, comfy: Path) -> None:
    import comfy.clip_vision

    torch.manual_seed(8)
    config = {**VISION, "model_type": "dinov3", "num_register_tokens": 4, "layer_norm_eps": 1e-5, "rope_theta": 100.0}
    ours = comfy.clip_vision.ClipVisionModel(config)
    for parameter in ours.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vectors = pack.picture_encoder.PictureEncoder(ours).embed(pictures())
    assert vectors.shape == (3, WIDTH) and np.isfinite(vectors).all()
    assert not np.allclose(vectors[0], vectors[2])


def test_siglip2_takes_pictures_in_their_own_shape(pack: Any, comfy: Path) -> None:
    import comfy.clip_vision

    torch.manual_seed(9)
    own = {"model_type": "siglip2_vision_model", "image_size": -1, "num_patches": 16, "hidden_act": "gelu_pytorch_tanh"}
    ours = comfy.clip_vision.ClipVisionModel({**VISION, **own})
    for parameter in ours.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vectors = pack.picture_encoder.PictureEncoder(ours).embed(pictures())
    assert vectors.shape == (3, WIDTH) and np.isfinite(vectors).all()


def reference_match(reference: Any, clip: FakeClip) -> list[float]:
    """By transformers alone: text and image embeddings, normed, multiplied. Prompts without their weights."""
    plain = [p.replace("(smiling:1.3)", "smiling") for p in PROMPTS]
    texts = []
    for prompt in plain:
        tokens = torch.tensor([[t for t, _ in clip.tokenize(prompt)["l"][0]]])
        with torch.no_grad():
            texts.append(reference.text_projection(reference.text_model(input_ids=tokens).pooler_output)[0].numpy())
    return cosines(np.stack(texts), reference_images(reference, pictures(), crop=True)).tolist()


def test_a_prompt_match_is_the_cosine_in_clips_joint_space(pack: Any, reference: Any) -> None:
    clip = FakeClip(clip_l=text_encoder(reference))
    found = pack.picture_encoder.prompt_match(clip, clip_vision(reference), PROMPTS, pictures())
    assert clip.asked == list(PROMPTS[:2])  # each different prompt once
    assert found == pytest.approx(reference_match(reference, clip), abs=1e-3)
    assert found == pytest.approx(RECORDED, abs=1e-3)
    assert pack.picture_encoder.can_match(clip, clip_vision(reference)) == ""


def test_an_encoder_that_gives_unprojected_texts_is_asked_for_projected_ones(pack: Any, reference: Any) -> None:
    """As SD 1.5's does; afterwards it gives what it gave before."""
    encoder = text_encoder(reference, return_projected_pooled=False)
    clip = FakeClip(clip_l=encoder)
    assert pack.picture_encoder.prompt_match(clip, clip_vision(reference), PROMPTS, pictures()) == pytest.approx(
        RECORDED, abs=1e-3
    )
    assert encoder.return_projected_pooled is False


@pytest.mark.parametrize("kind", ["identity", "zeros", "garbage", "huge"])
def test_a_projection_that_the_file_lacked_is_refused(pack: Any, reference: Any, kind: str) -> None:
    projection = {
        "identity": torch.eye(WIDTH),
        "zeros": torch.zeros(WIDTH, WIDTH),
        "garbage": torch.full((WIDTH, WIDTH), float("nan")),
        "huge": torch.randn(WIDTH, WIDTH) * 1e20,
    }[kind]
    clip = FakeClip(clip_l=text_encoder(reference, projection))
    with pytest.raises(pack.errors.ModelMissingError, match=r"clip_l has no trained text projection.*Load CLIP"):
        pack.picture_encoder.prompt_match(clip, clip_vision(reference), PROMPTS, pictures())


def test_halves_of_different_width_are_refused(pack: Any, reference: Any) -> None:
    encoder = text_encoder(reference)
    encoder.transformer.text_projection = torch.nn.Linear(WIDTH, 48, bias=False)
    clip = FakeClip(clip_g=encoder)
    why = pack.picture_encoder.can_match(clip, clip_vision(reference))
    assert f"projects to {JOINT} numbers" in why and "clip_g (48)" in why
    with pytest.raises(pack.errors.ModelMissingError, match="load the text encoder of the same CLIP"):
        pack.picture_encoder.prompt_match(clip, clip_vision(reference), PROMPTS, pictures())


def test_a_text_encoder_that_is_no_clip_is_refused(pack: Any, reference: Any) -> None:
    clip = SimpleNamespace(cond_stage_model=SimpleNamespace(t5xxl=object()))
    why = pack.picture_encoder.can_match(clip, clip_vision(reference))
    assert "no text encoder of the CLIP input does (no CLIP)" in why


def test_an_image_encoder_without_a_joint_space_is_refused(pack: Any, reference: Any) -> None:
    clip = FakeClip(clip_l=text_encoder(reference))
    why = pack.picture_encoder.can_match(clip, clip_vision(reference, projection=False))
    assert "shares no space with texts" in why and "CLIP-ViT-L-14" in why


def test_every_picture_needs_a_prompt(pack: Any, reference: Any) -> None:
    with pytest.raises(ValueError, match="2 prompts for 3 pictures"):
        pack.picture_encoder.prompt_match(None, None, PROMPTS[:2], pictures())
