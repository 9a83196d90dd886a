"""How sd-scripts sees a set: argv is JSON {script, config, img, reg}; with `img` by folders, else by dataset.toml.

It goes the way of `NetworkTrainer.train` up to the data loader.
"""

import importlib
import json
import logging
import sys

import numpy as np

warnings = []


class Warn(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warnings.append(record.getMessage())


def main(script: str, config: str, img: str = "", reg: str = "") -> dict:
    module = importlib.import_module(script)
    from library import config_util, strategy_base, train_util

    parser = module.setup_parser()
    sys.argv = [script, "--config_file", config]
    args = train_util.read_config_from_file(parser.parse_args(), parser)
    if img:
        args.dataset_config, args.train_data_dir, args.reg_data_dir = None, img, reg or None
    train_util.verify_training_args(args)
    train_util.prepare_dataset_args(args, True)
    logging.getLogger().addHandler(Warn())
    trainer = {
        "train_network": "NetworkTrainer",
        "sdxl_train_network": "SdxlNetworkTrainer",
        "flux_train_network": "FluxNetworkTrainer",
    }[script]
    trainer = getattr(module, trainer)()
    strategy = trainer.get_latents_caching_strategy(args)
    strategy_base.LatentsCachingStrategy.set_strategy(strategy)
    generator = config_util.BlueprintGenerator(config_util.ConfigSanitizer(True, True, args.masked_loss, True))
    if args.dataset_config:
        user = config_util.load_user_config(args.dataset_config)
    else:
        found = config_util.generate_dreambooth_subsets_config_by_subdirs(args.train_data_dir, args.reg_data_dir)
        user = {"datasets": [{"subsets": found}]}
    group, _ = config_util.generate_dataset_group_by_blueprint(generator.generate(user, args).dataset_group)
    trainer.assert_extra_args(args, group, None)
    assert group.is_latent_cacheable()
    if getattr(args, "cache_text_encoder_outputs", False):
        assert group.is_text_encoder_output_cacheable()
    datasets = [dataset(d, train_util) for d in group.datasets]
    return {"warnings": warnings, "steps": len(group), "datasets": datasets}


def dataset(data, train_util) -> dict:
    buckets = {
        f"{w}x{h}": len(b)
        for (w, h), b in zip(data.bucket_manager.resos, data.bucket_manager.buckets, strict=True)
        if b
    }
    images = [image(data, info, train_util) for info in data.image_data.values()]
    return {"batch": data.batch_size, "buckets": buckets, "images": images, "reg": data.num_reg_images}


def image(data, info, train_util) -> dict:
    subset = data.image_to_subset[info.image_key]
    pixels = train_util.load_image(info.absolute_path, subset.alpha_mask)
    cut, *_ = train_util.trim_and_resize_if_required(False, pixels, info.bucket_reso, info.resized_size)
    seen = {data.process_caption(subset, info.caption) for _ in range(60)}
    return {
        "path": info.absolute_path,
        "caption": info.caption,
        "repeats": info.num_repeats,
        "is_reg": info.is_reg,
        "class_tokens": subset.class_tokens,
        "size": list(info.image_size),
        "bucket": list(info.bucket_reso),
        "as_it_is": bool(np.array_equal(cut, pixels)),
        "masked": bool(subset.alpha_mask),
        "least_alpha": int(pixels[:, :, 3].min()) if subset.alpha_mask else 255,
        "told": sorted(seen),
    }


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    print("\n" + json.dumps(main(**question)))
