"""Fine-tuning on any labelled images, end to end: the third stage of the chain.

Command:   remedis train --config experiments/finetune/classify.py:model=r50x1,task=t1 \
               --set data.manifest=labelled.csv --set init=runs/simclr --workdir runs/finetuned
Hardware:  R50x1 at 224 pixels and batch 128 wants an accelerator with 16 GB.
Time:      BiT-HyperRule fixes the steps: 500 below 20,000 images, else 10,000 or 20,000.
Expected:  depends on your data; the report of `remedis evaluate` gives it with intervals.

The manifest needs the columns `image`, the task's label column(s) and group column, and `split`
with "train" and "val". For other names: labels=a+b, group=NAME (or none); data.validation={} for
data without validation rows. `task` gives colour or grey images, sizes and the kind of labels, and
nothing else: every image is an example, unless case=NAME,case_images=N make one of up to N images
of a case. The tasks' own configs (t1.py to t6.py) have their cases, readers, views and label
policies.

Of a run the last step is taken, since such data may have no validation rows: select=best otherwise.
"""

import dataclasses

from experiments.bit.natural import shrink
from experiments.finetune._start import read_arguments, start_config
from remedis_jax.tasks.specification import get_task


def get_config(arg=None):
    # kind: "" for the task's, or softmax, sigmoid, discrete_time, cox. select: last or best.
    arg = read_arguments(arg, task="t1", kind="", case_images=0, select="last")
    task = get_task(arg.task)
    task = dataclasses.replace(
        task, kind=arg.kind or task.kind, classes=(), readers=(), label_policy={}, case="",
        case_images=arg.case_images, view="", views=(), fit="squash", finetune_options={},
    )  # fmt: skip
    config = start_config(task, arg)
    config.select = arg.select
    if arg.select == "last":
        config.select_metric = ""
    if arg.tiny:
        shrink(config)
        config.schedule, config.validation_steps = "cosine", 4.0
    return config
