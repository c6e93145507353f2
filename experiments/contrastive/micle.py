"""MICLe: pairs of images of one case, a short stage after SimCLR.

Command:   remedis train --config experiments/contrastive/micle.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set data.case=case_id --set init=runs/simclr \
               --workdir runs/micle
Hardware:  one GPU or a few TPU chips for batch 128 of R50x1; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale.
Expected:  not reproduced at scale here; Azizi et al. 2021 publish +6.7% top-1 in dermatology over
           supervised ImageNet pre-training.

The manifest needs `image` and a column that names the case (data.case, or data.group). Cases of one
image make their pair of two crops.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("micle", arg)
    # micle: batch 128, LARS 0.1, 100k steps, both from memory of the paper's appendix; no warm-up
    # is known, ours is a tenth.
    config.batch_size = 128
    config.optimizer.learning_rate, config.optimizer.scaling = 0.1, "none"
    config.total_steps = 100_000.0
    config.warmup_percent = 10.0
    return finish_config(config, arg)
