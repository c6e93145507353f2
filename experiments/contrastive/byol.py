"""BYOL: predict a slowly moving copy of oneself, without negatives.

Command:   remedis train --config experiments/contrastive/byol.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/byol
Hardware:  a TPU or GPU pod for R50x1 at batch 4096; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      deepmind-research reports about 8 h on 512 TPU v3 for 1000 epochs of ImageNet.
Expected:  not reproduced at scale here; 74.0 to 74.5% linear-probe accuracy on ImageNet for
           ResNet-50 at 1000 epochs (deepmind-research, byol).

Watch feature_std and embedding_std: without negatives a bad learning rate can collapse it.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("byol", arg, ("byol_first", "byol_second"))
    # authors-code (300 epochs): LARS 0.3 x batch / 256, wd 1e-6, target momentum 0.99, 10 epochs
    # of warm-up; biases and norms neither decayed nor adapted.
    config.batch_size = 4096
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.3, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.objective.momentum = 0.99
    config.total_epochs = 300.0
    config.warmup_epochs = 10.0
    return finish_config(config, arg)
