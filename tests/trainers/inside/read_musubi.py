"""How musubi-tuner sees a set: argv is JSON {config, architecture}.

It goes the way of cache_latents.py, then, with empty caches, that of the training.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from musubi_tuner.dataset import config_utils
from PIL import Image
from safetensors.torch import save_file


def main(config: str, architecture: str) -> dict:
    generator = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer())
    blueprint = generator.generate(
        config_utils.load_user_config(config), argparse.Namespace(debug_dataset=False), architecture=architecture
    )
    group = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    images = [
        image(item, data)
        for data in group.datasets
        for _, batch in data.retrieve_latent_cache_batches(1)
        for item in batch
    ]
    group = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group, training=True)
    return {"images": images, "steps": len(group), "samples": group.num_train_items}


def image(item, data) -> dict:
    with Image.open(item.item_key) as picture:
        same = np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(item.content)[:, :, :3])
        size = picture.size
    for path in (item.latent_cache_path, item.text_encoder_output_cache_path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.zeros(1)}, path)
    return {
        "path": item.item_key,
        "caption": item.caption,
        "as_it_is": same,
        "size": list(size),
        "repeats": data.num_repeats,
        "cache": str(Path(item.latent_cache_path).parent),
    }


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    print("\n" + json.dumps(main(**question)))
