"""T1, dermatology: a case of several photographs, labelled by several readers.

Command:   remedis train --config experiments/finetune/t1.py:model=r50x1,init=runs/dermatology \
               --set data.manifest=labelled.csv --workdir runs/t1
Hardware:  a batch is 32 cases of up to 4 photographs at 448 pixels: four times what R50x1 at 224
           pixels and batch 128 needs. On less: --set accumulation=embeddings --set micro_batch=32.
Time:      not measured at this size; 500 steps below 20,000 cases, else 10,000 or 20,000.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image`, `patient_id`, `case_id`, `reader_1` to `reader_3` (a class each) and
`split`. One label per case instead: labels=condition. Every photograph by itself: case=none. Public
data, e.g. HAM10000: labels=dx,group=lesion_id,case=lesion_id. What is known of the paper and what
is ours: docs/tasks.md.
"""

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    arg = read_arguments(arg)
    # From the task: 448 pixels (from memory), cases of up to 4 photographs and the mean of their
    # features (ours), soft labels of the readers. From _start: BiT-HyperRule (bit), crop and flip
    # (official-code), the best validation by top-1 accuracy (ours).
    return finish_config(start_config(get_task("t1"), arg), arg)
