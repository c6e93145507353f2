"""T2, fundus: diabetic macular edema.

Command:   remedis train --config experiments/finetune/t2.py:model=r50x1,init=runs/fundus \
               --set data.manifest=labelled.csv --workdir runs/t2
Hardware:  587 pixels and batch 128 need 7 times what 224 pixels do. On less:
           --set accumulation=gradients --set micro_batch=16 --set objective.mixup=0.
Time:      not measured at this size; 500 steps below 20,000 images, else 10,000 or 20,000.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image`, `patient_id`, `edema` (0, 1) and `split`. Other columns:
labels=adjudicated_dme,group=examination (Messidor-2). What is known of the paper and what is ours:
docs/tasks.md.
"""

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    arg = read_arguments(arg)
    # From the task: 587 pixels (from memory), rotation up to 45 degrees (ours), classes 0 and 1.
    # From _start: BiT-HyperRule (bit), crop and flip (official-code), the best validation (ours).
    return finish_config(start_config(get_task("t2"), arg), arg)
