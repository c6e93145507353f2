"""VICReg: variance, invariance and covariance of the embeddings; no negatives.

Command:   remedis train --config experiments/contrastive/vicreg.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/vicreg
Hardware:  a GPU or TPU pod for R50x1 at batch 2048; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale.
Expected:  not reproduced at scale here; 73.2% linear-probe accuracy on ImageNet for ResNet-50
           at 1000 epochs (the authors), 63.0% at 100 epochs and batch 256 (lightly's benchmark).

Set objective.projector=(512,512,512) on a small machine: 8192 is 151 M parameters.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("vicreg", arg, ("byol_first", "byol_second"))
    # authors-code: LARS 0.2 x batch / 256 for all parameters, wd 1e-6, 10 epochs of warm-up, Barlow
    # Twins' views, cosine (theirs ends at a thousandth, ours at 0).
    config.batch_size = 2048
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.2, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.total_epochs = 100.0
    config.warmup_epochs = 10.0
    if config.augment.recipe != "radiology":
        config.augment.options = {"brightness_mode": "multiplicative"}
    return finish_config(config, arg)
