"""RELIC: contrast with an invariance penalty between the views.

Command:   remedis train --config experiments/contrastive/relic.py:model=r50x1,task=t1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/relic
Hardware:  a GPU or TPU pod for R50x1 at batch 4096; for a laptop
           use model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale.
Expected:  not reproduced at scale here; 74.8% linear-probe accuracy on ImageNet for ResNet-50 with
           the target network (Mitrovic et al. 2021, from memory, unverified).

What the paper leaves open is an option of the objective: kl_direction, kl_stop_gradient, alpha,
temperature, target_network (see remedis_jax/objectives/relic.py).
"""

from experiments.contrastive._start import finish_config, start_config


def get_config(arg=None):
    config, arg = start_config("relic", arg, ("byol_first", "byol_second"))
    # The paper's own training settings could not be read; these are BYOL's (authors-code).
    config.batch_size = 4096
    config.optimizer.name = "lars_after_momentum"
    config.optimizer.learning_rate, config.optimizer.scaling = 0.3, "linear"
    config.optimizer.exclude = r"bias|gamma|beta"
    config.total_epochs = 300.0
    config.warmup_epochs = 10.0
    return finish_config(config, arg)
