"""T5, colorectal cancer: survival of a patient from a bag of tiles.

Command:   remedis train --config experiments/finetune/t5.py:model=r50x1,init=runs/histology \
               --set data.manifest=labelled.csv --workdir runs/t5
Hardware:  a batch is 16 patients of up to 8 tiles at 224 pixels: what R50x1 at batch 128 needs, an
           accelerator with 16 GB. Larger bags: --set data.case_images=64 with
           --set accumulation=embeddings --set micro_batch=128.
Time:      not measured at this size; 500 steps below 20,000 patients.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image`, `patient_id`, `time_years`, `event` (0 censored, 1 death) and `split`;
a patient has the same time and event in every row. loss=discrete_time counts intervals of a year up
to the fifth, loss=cox ranks the patients of a batch by their hazard. Times in another unit: set
objective.horizon and objective.intervals in it. What is known of the paper and what is ours:
docs/tasks.md.
"""

import dataclasses

from experiments.finetune._start import finish_config, read_arguments, start_config
from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    arg = read_arguments(arg, loss="discrete_time")
    task = get_task("t5")
    losses = (task.kind, *task.other_kinds)
    if arg.loss not in losses:
        raise UserError(f"loss is {arg.loss!r}.", f"Use {' or '.join(losses)}.")
    # From the task: 224 pixels (official-code), the mean over tiles and a censored likelihood over
    # intervals (from memory), 8 tiles a visit and intervals of a year (ours). From _start:
    # BiT-HyperRule (bit), crop and flip (official-code), the best validation by AUROC at five years
    # (ours).
    return finish_config(start_config(dataclasses.replace(task, kind=arg.loss), arg), arg)
