"""Supervised pre-training on natural images: the first stage of the chain.

Command:   remedis train --config experiments/bit/natural.py:model=r50x1 \
               --set data.manifest=natural/manifest.csv --workdir runs/natural
Hardware:  the defaults are BiT's upstream ones and want a TPU or GPU pod; for a laptop use
           model=r14x0.25,size=32,stem=cifar_stride2 as the demo does.
Time:      r14x0.25 at 32 pixels: about 900 images a second on two CPU cores.
Expected:  not reproduced at scale here; big_transfer publishes 80.68% on ImageNet for R50x1.

The manifest needs the columns `image`, `label` and `split` with a split "train".
"""

from remedis_jax.training.config import parse_arg, stage_config


def get_config(arg=None):
    arg = parse_arg(arg, model="r50x1", stem="bit", size=224, manifest="", tiny=False)
    config = stage_config("supervised")
    config.data.manifest = arg.manifest
    config.data.labels = ("label",)
    config.data.split = "split"
    config.data.train = {"split": "train"}
    config.data.size = round(arg.size * 256 / 224)
    config.model.name, config.model.stem = arg.model, arg.stem
    # bit (big_vision, bit_i21k): inception crop and flip, SGD, cosine, 90 epochs, clipping at 1.
    config.augment.recipe = "finetune"
    config.augment.size = arg.size
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.03
    config.optimizer.scaling = "linear"
    config.optimizer.weight_decay = 3e-5
    config.optimizer.clip_norm = 1.0
    config.batch_size = 4096
    config.total_epochs = 90.0
    config.warmup_steps = 5000.0
    config.checkpoint_steps = 1000.0
    if arg.tiny:
        shrink(config)
    return config


def shrink(config):
    """A few steps of a small network, to see that everything works."""
    config.model.name, config.model.stem = "r14x0.25", "cifar_stride2"
    config.data.size, config.augment.size = 20, 16
    config.optimizer.name, config.optimizer.scaling = "sgd", "none"
    config.optimizer.learning_rate, config.optimizer.weight_decay = 1e-3, 1e-6
    config.optimizer.clip_norm = 1.0
    config.batch_size = 8
    config.monitor.images = 0
    for name in ("total", "warmup", "checkpoint"):
        for unit in ("steps", "epochs", "examples"):
            config[f"{name}_{unit}"] = None
    config.warmup_percent = None
    config.total_steps, config.warmup_steps, config.checkpoint_steps = 4.0, 1.0, 2.0
