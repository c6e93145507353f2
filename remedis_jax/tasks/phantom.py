"""The demo's task: films of two invented hospitals (`remedis_jax.data.phantom`)."""

from remedis_jax.tasks.task import Task

PHANTOM = Task(
    title="The phantom",
    question="Does this invented film show the invented disease?",
    modality="none",
    kind="softmax",
    labels=("finding",),
    group="patient_id",
    channels=1,
    recipe="radiology",
    pretrain_size=32,
    finetune_size=32,
    metric="auroc",
    metrics=("auroc", "accuracy"),
    ours=("All of it.",),
)
