"""T6, mammography: cancer in a breast of two views, or in an exam of four.

Command:   remedis train --config experiments/finetune/t6.py:model=r50x1,init=runs/mammography \
               --set data.manifest=labelled.csv --workdir runs/t6
           remedis evaluate labelled.csv --weights runs/t6 --where split=test --out runs/t6/breasts
           remedis evaluate labelled.csv --weights runs/t6 --where split=test --out runs/t6/exams \
               --aggregate patient:max
Hardware:  a batch is 64 breasts of two views at 2,048 pixels: 84 times what R50x1 at 224 pixels and
           batch 128 needs. On less: size=1024, and
           --set accumulation=gradients --set micro_batch=2.
Time:      not measured at this size; 500 steps below 20,000 breasts, else 10,000 or 20,000.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image`, `patient_id`, `breast_id`, `view` (CC, MLO), `cancer` (0, 1) and
`split`; with level=exam `exam_id`, `side_view` (L_CC, L_MLO, R_CC, R_MLO) and `cancer_exam`. A view
may be missing. Every image by itself: case=none. What is known of the paper and what is ours:
docs/tasks.md.
"""

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.tasks.mammography import mammography_task


def get_config(arg=None):
    arg = read_arguments(arg, level="breast")
    # From the task: about 2,048 pixels (from memory), padded to a square (ours), a place for each
    # view and the mean over them (ours). From _start: BiT-HyperRule (bit), crop and flip
    # (official-code), the best validation by AUROC (ours).
    return finish_config(start_config(mammography_task(arg.level), arg), arg)
