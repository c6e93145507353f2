"""Barlow Twins: make the views' cross-correlation the identity; no negatives.

Command:   remedis train --config experiments/contrastive/barlow_twins.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural \
               --workdir runs/barlow_twins
Hardware:  16 GPUs or a TPU pod for R50x1 at batch 2048; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
           Set objective.projector=(512,512,512) there: 8192 is 151 M parameters.
Time:      facebookresearch/barlowtwins reports 7 days on 16 V100 for 1000 epochs of ImageNet.
Expected:  not reproduced at scale here; 73.5% linear-probe accuracy on ImageNet for ResNet-50
           (1000 epochs), 71.4% at 300 epochs and batch 2048.

The authors' rates by batch size, 300 epochs (issue 7 of their repository), for weights: 128 0.7,
256 0.4, 512 0.3, 1024 0.25, 2048 0.2, 4096 0.2, each x batch / 256.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("barlow_twins", arg, ("byol_first", "byol_second"))
    # authors-code: LARS 0.2 for weights and 0.0048 for biases and norms, x batch / 256, wd 1e-6,
    # 10 epochs of warm-up, 1000 epochs, cosine (theirs ends at a thousandth, ours at 0). Their
    # gradient is 1/16 of the true one on their 16 processes, which no trust ratio makes up for
    # in biases and norms: ours is divided by it (see objectives/barlow_twins.py).
    config.batch_size = 2048
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.2, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.optimizer.excluded_rate = 0.0048 / 16 / 0.2
    config.total_epochs = 1000.0
    config.warmup_epochs = 10.0
    if config.augment.recipe != "radiology":
        config.augment.options = {"brightness_mode": "multiplicative"}
    return finish_config(config, arg)
