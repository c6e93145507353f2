"""T4, lymph nodes: metastatic tumour in a patch, and in a slide by its worst patch.

Command:   remedis train --config experiments/finetune/t4.py:model=r50x1,init=runs/histology \
               --set data.manifest=labelled.csv --workdir runs/t4
           remedis evaluate labelled.csv --weights runs/t4 --where split=test --out runs/t4/patches
           remedis evaluate labelled.csv --weights runs/t4 --where split=test --out runs/t4/slides \
               --group slide_id --aggregate patient:max
Hardware:  R50x1 at 224 pixels and batch 128 wants an accelerator with 16 GB.
Time:      not measured at this size; 500 steps below 20,000 patches, else 10,000 or 20,000.
Expected:  not reproduced at scale here; no per-task number of the paper is verified.

The manifest needs `image`, `patient_id`, `tumour` (0, 1) and `split`; `slide_id` to score slides.
What is known of the paper and what is ours: docs/tasks.md.
"""

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    arg = read_arguments(arg)
    # From the task: 224 pixels (official-code), rotation by any angle (ours), classes 0 and 1. From
    # _start: BiT-HyperRule (bit), crop and flip (official-code), the best validation (ours).
    return finish_config(start_config(get_task("t4"), arg), arg)
