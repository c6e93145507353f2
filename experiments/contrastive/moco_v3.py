"""MoCo v3: momentum keys of the same batch instead of a queue.

Command:   remedis train --config experiments/contrastive/moco_v3.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/moco_v3
Hardware:  a GPU or TPU pod for R50x1 at batch 4096; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale (the authors used 16 V100).
Expected:  not reproduced at scale here; 68.9%, 72.8% and 74.6% linear-probe accuracy on ImageNet
           for ResNet-50 at 100, 300 and 1000 epochs (facebookresearch/moco-v3).

The head has BatchNorm over the global batch.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("moco_v3", arg, ("byol_first", "byol_second"))
    # authors-code (ResNet-50, 300 epochs): LARS 0.3 x batch / 256, wd 1e-6, 10 epochs of warm-up,
    # crops of at least 20%; parameters of one dimension neither decayed nor adapted.
    config.batch_size = 4096
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.3, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.total_epochs = 300.0
    config.warmup_epochs = 10.0
    if config.augment.recipe != "radiology":
        config.augment.options = {"area_range": (0.2, 1.0), "brightness_mode": "multiplicative"}
    return finish_config(config, arg)
