"""SimCLR on unlabelled images of one modality: the second stage of the chain.

Command:   remedis train --config experiments/contrastive/simclr.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/simclr
Hardware:  the defaults are those of the REMEDIS code and want a TPU or GPU pod; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      google-research/simclr reports 6 h on 32 TPU v3 for R50x1, 100 epochs of ImageNet at
           batch 4096.
Expected:  not reproduced at scale here; Chen et al. 2020 publish 69.1% linear-probe accuracy on
           ImageNet for ResNet-50 (v1). For the head of v2: --set objective.head_layers=3.

The manifest needs the column `image`; name a patient column with data.group and the manifests of
your test data with data.held_out, and a patient who is in both is refused.
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("simclr", arg)
    # official-code (REMEDIS run.py): batch 512, 100 epochs, LARS 0.3 x batch / 256, wd 1e-6,
    # 10 epochs of warm-up, cosine; stage_config holds the rest.
    config.batch_size = 512
    config.total_epochs = 100.0
    config.warmup_epochs = 10.0
    return finish_config(config, arg)
