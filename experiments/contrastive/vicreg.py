"""VICReg: variance, invariance and covariance of the embeddings; no negatives.

Command:   remedis train --config experiments/contrastive/vicreg.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/vicreg
Hardware:  a GPU or TPU pod for R50x1 at batch 2048; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale.
Expected:  not reproduced at scale here; 63.0% linear-probe accuracy on ImageNet for ResNet-50
           at 100 epochs and batch 256 (lightly's benchmark).

Set objective.projector=(512,512,512) on a small machine: 8192 is 151 M parameters.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("vicreg", arg, ("byol_first", "byol_second"))
    # ours: Barlow Twins' optimiser and views, whose loss it resembles; the authors' own settings
    # could not be read.
    config.batch_size = 2048
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.2, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.total_epochs = 100.0
    config.warmup_epochs = 10.0
    return finish_config(config, arg)
