"""Writes a random SD 1.5 checkpoint of the size that the copied trainer knows: argv is its path."""

import sys

import torch
from diffusers import AutoencoderKL
from library import model_util
from library.original_unet import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

torch.manual_seed(0)
text = CLIPTextConfig(
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=1,
    num_attention_heads=12,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
    projection_dim=768,
)
unet = UNet2DConditionModel(**model_util.create_unet_diffusers_config(False))
vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
model_util.save_stable_diffusion_checkpoint(
    False, sys.argv[1], CLIPTextModel(text), unet, None, 0, 0, None, torch.float16, vae
)
