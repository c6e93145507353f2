"""Dermoscopy on a laptop: CIFAR-10 -> unlabelled HAM10000 -> few labels of a new clinic.

Command:   python -m experiments.public.prepare --data FOLDER --out runs/real
           remedis sweep --config experiments/data_efficiency/ham10000.py --out runs/ham10000
           (splits by lesion, then this experiment; FOLDER holds cifar10/ and ham10000/)
Hardware:  two CPU cores.
Time:      see docs/reproduction.md.
Expected:  see docs/reproduction.md.

Labelled site: rosendahl; new site: vidir_modern; the unlabelled pool is vidir_molemax, vienna_dias
and the training lesions of both. Malignancy and site go together in HAM10000, so training on
several sites would let a model read the site.
"""

from experiments.data_efficiency._experiment import (
    add_chain,
    experiment,
    for_a_laptop,
    shortened,
)
from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    arg = parse_arg(arg, data="runs/real", size=48, tiny=False)
    tiny = ",tiny" if arg.tiny else ""
    network = "model=r14x0.25,stem=cifar_stride2"
    natural = load_config(
        f"experiments/bit/natural.py:{network},size=32,manifest={arg.data}/natural.csv{tiny}"
    )
    contrastive = load_config(
        f"experiments/contrastive/simclr.py:{network},size={arg.size},task=t1,"
        f"manifest={arg.data}/t1_pool.csv{tiny}"
    )
    finetune = load_config(
        f"experiments/finetune/classify.py:{network},size={arg.size},task=t1,labels=malignant,"
        f"group=lesion_id,manifest={arg.data}/t1_labelled.csv{tiny}"
    )
    held_out = {"manifest": f"{arg.data}/t1_labelled.csv", "where": {"split": ["val", "test"]}}
    for stage in (natural, contrastive, finetune):
        with stage.unlocked():
            # The manifests name images by their absolute paths.
            stage.data.allow_outside = True
            stage.augment.evaluation = {"crop": "resize"}
    for_a_laptop(natural, contrastive, finetune)
    natural.data.size = 32
    for stage in (contrastive, finetune):
        stage.data.size = arg.size
        stage.data.group = "lesion_id"
    contrastive.data.held_out = ({**held_out, "group": "lesion_id", "allow_outside": True},)
    contrastive.augment.recipe = "simclr_small"
    contrastive.augment.options = {"area_range": (0.2, 1.0)}
    finetune.data.classes = ("0", "1")
    finetune.augment.options = {"area_range": (0.5, 1.0)}
    if not arg.tiny:
        # All below: ours, for under an hour on two cores.
        natural.batch_size, natural.total_steps = 128, 500.0
        natural.optimizer.learning_rate = 3e-3
        contrastive.batch_size, contrastive.total_steps = 128, 400.0
        contrastive.optimizer.learning_rate = 2e-3
        contrastive.objective.temperature = 0.2
        contrastive.checkpoint_steps = 50.0
        finetune.batch_size, finetune.total_steps = 32, 150.0
    finetune.checkpoint_steps, finetune.validation_steps = 0.0, None

    config = experiment(
        "Dermoscopy (HAM10000): rosendahl to vidir_modern",
        finetune,
        id_site="rosendahl",
        ood_site="vidir_modern",
    )
    config.characteristics = ("age", "sex", "localization")
    add_chain(config, natural, contrastive, start="CIFAR-10", pool="unlabelled dermoscopy")
    if arg.tiny:
        shortened(config)
    config.command = (
        "python -m experiments.public.prepare --data FOLDER --out runs/real\n"
        "remedis sweep --config experiments/data_efficiency/ham10000.py --out runs/ham10000"
    )
    config.notes = (
        f"Images of {arg.size} pixels and a network of half a million parameters: a demonstration "
        "of the protocol, far from what dermoscopy allows.",
        "A patient here is a lesion: HAM10000 names no patients.",
    )
    return config.lock()
