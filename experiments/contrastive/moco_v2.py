"""MoCo v2: a queue of negatives, so that small batches do.

Command:   remedis train --config experiments/contrastive/moco_v2.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural \
               --workdir runs/moco_v2
Hardware:  one machine with 8 GPUs for R50x1 at batch 256; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
           objective.queue_size is a multiple of batch_size and best not larger than the data.
Time:      facebookresearch/moco reports 53 h on 8 V100 for 200 epochs of ImageNet.
Expected:  not reproduced at scale here; 67.5% (200 epochs) and 71.1% (800) linear-probe accuracy on
           ImageNet for ResNet-50 (facebookresearch/moco).

Nothing in encoder or head is normalised over the batch, so neither shuffling between devices nor
synchronised BatchNorm is needed.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("moco_v2", arg, ("moco_v2", ""))
    # authors-code: SGD 0.03 at batch 256 with linear scaling, wd 1e-4 on every parameter, 200
    # epochs, no warm-up. The authors' cosine moves once per epoch, ours at every step.
    config.batch_size = 256
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.03, "linear"
    config.optimizer.weight_decay = 1e-4
    config.optimizer.exclude = "^$"
    config.total_epochs = 200.0
    return finish_config(config, arg)
