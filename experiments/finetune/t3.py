"""T3, chest X-ray: five findings, some of them uncertain.

Command:   remedis train --config experiments/finetune/t3.py:model=r50x1,init=runs/chest_xray \
               --set data.manifest=labelled.csv --workdir runs/t3
Hardware:  448 pixels and batch 128 need 4 times what 224 pixels do. On less:
           --set accumulation=embeddings --set micro_batch=32 --set objective.mixup=0.
Time:      not measured at this size; 500 steps below 20,000 images, else 10,000 or 20,000.
Expected:  not reproduced at scale here; no per-task number of the paper is verified.

The manifest needs `image`, `patient_id`, `split` and a column per finding with 1, 0, -1 (uncertain)
or nothing. Uncertain ones are left out and empty ones are negative: --set data.uncertain=ones, or
one finding at a time, --set "data.label_policy={'cardiomegaly': {'uncertain': 'zeros'}}". Other
findings: labels=pneumonia, or labels=edema+consolidation. What is known of the paper and what is
ours: docs/tasks.md.
"""

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    arg = read_arguments(arg)
    # From the task: 448 pixels (from memory), the label policy (ours). From _start: BiT-HyperRule
    # (bit), crop and flip (official-code), the best validation by the findings' mean AUROC (ours).
    return finish_config(start_config(get_task("t3"), arg), arg)
