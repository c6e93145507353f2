"""SimCLR on unlabelled images of one modality: the second stage of the chain.

Command:   remedis train --config experiments/contrastive/simclr.py:model=r50x1,task=t3 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/simclr
Hardware:  the defaults are those of the REMEDIS code and want a TPU or GPU pod; for a laptop use
           model=r14x0.25,stem=cifar_stride2,size=32 and set total_epochs.
Time:      google-research/simclr reports 6 h on 32 TPU v3 for R50x1, 100 epochs of ImageNet at
           batch 4096.
Expected:  not reproduced at scale here; Chen et al. 2020 publish 69.1% linear-probe accuracy on
           ImageNet for ResNet-50.

The manifest needs the column `image`; name a patient column with data.group and the manifests of
your test data with data.held_out, and a patient who is in both is refused.
"""

from experiments.bit.natural import shrink
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import parse_arg, stage_config


def get_config(arg=None):
    arg = parse_arg(
        arg, model="r50x1", task="t1", stem="bit", size=0, manifest="", init="", tiny=False
    )
    task = get_task(arg.task)
    size = arg.size or task.pretrain_size
    config = stage_config("simclr")
    config.init = arg.init
    config.data.manifest = arg.manifest
    config.data.channels = task.channels
    config.data.size = round(size * 256 / 224)
    config.model.name, config.model.stem = arg.model, arg.stem
    config.augment.recipe = task.recipe
    config.augment.size = size
    # official-code (REMEDIS run.py): batch 512, 100 epochs, LARS 0.3 x batch / 256, wd 1e-6,
    # 10 epochs of warm-up, cosine; stage_config holds the rest.
    config.batch_size = 512
    config.total_epochs = 100.0
    config.warmup_epochs = 10.0
    config.checkpoint_steps = 500.0
    if arg.tiny:
        shrink(config)
    return config
