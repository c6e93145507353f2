"""Fine-tuning on labelled images, end to end: the third stage of the chain.

Command:   remedis train --config experiments/finetune/classify.py:model=r50x1,task=t1 \
               --set data.manifest=labelled.csv --set init=runs/simclr --workdir runs/finetuned
Hardware:  R50x1 at 224 pixels and batch 128 wants an accelerator with 16 GB.
Time:      BiT-HyperRule fixes the steps: 500 below 20,000 images, else 10,000 or 20,000.
Expected:  depends on your data; the report of `remedis evaluate` gives it with intervals.

The manifest needs the columns `image`, the task's label column(s) and group column, and `split`
with "train" and "val". Set data.labels, data.group, data.split for other names, and
data.validation={} for data without validation rows.
"""

from experiments.bit.natural import shrink
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import parse_arg, stage_config


def get_config(arg=None):
    arg = parse_arg(
        arg, model="r50x1", task="t1", stem="bit", size=0, manifest="", init="", tiny=False
    )
    task = get_task(arg.task)
    size = arg.size or task.finetune_size
    config = stage_config("supervised")
    config.init = arg.init
    config.objective.kind = task.kind
    config.data.manifest = arg.manifest
    config.data.labels = task.labels
    config.data.group = task.group
    config.data.split = "split"
    config.data.train = {"split": "train"}
    config.data.validation = {"split": "val"}
    config.data.channels = task.channels
    config.data.size = round(size * 512 / 448)
    config.model.name, config.model.stem = arg.model, arg.stem
    # official-code: crop and flip, no colour.
    config.augment.recipe = "finetune"
    config.augment.size = size
    # bit (BiT-HyperRule, with the batch and rate that its README recommends off TPU): SGD with
    # momentum, lr 0.001 at batch 128, no weight decay, length and drops by the number of images.
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.001
    config.optimizer.scaling = "none"
    config.optimizer.weight_decay = 0.0
    config.batch_size = 128
    config.schedule = "bit"
    config.checkpoint_steps = 100.0
    config.validation_steps = 100.0
    if arg.tiny:
        shrink(config)
        config.schedule, config.validation_steps = "cosine", 4.0
    return config
