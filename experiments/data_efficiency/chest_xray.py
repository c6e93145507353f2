"""Chest X-rays on a laptop: CIFAR-10 -> unlabelled Guangzhou -> few labels of the NIH.

Command:   python -m experiments.public.prepare --data FOLDER --out runs/real
           remedis sweep --config experiments/data_efficiency/chest_xray.py --out runs/chest_xray
           (FOLDER holds cifar10/, cxr_guangzhou/ and cxr_nih/)
Hardware:  two CPU cores.
Time:      see docs/reproduction.md.
Expected:  see docs/reproduction.md.

Pneumonia or not. Guangzhou: children, labels of radiologists; NIH: adults, labels mined from
reports. Hospital, age and label definition change together, so nothing learnt at the first site
need hold at the second.
"""

from experiments.data_efficiency._experiment import (
    add_chain,
    experiment,
    for_a_laptop,
    shortened,
)
from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    arg = parse_arg(arg, data="runs/real", size=28, tiny=False)
    tiny = ",tiny" if arg.tiny else ""
    network = "model=r14x0.25,stem=cifar_stride2"
    natural = load_config(
        f"experiments/bit/natural.py:{network},size=32,manifest={arg.data}/natural.csv{tiny}"
    )
    contrastive = load_config(
        f"experiments/contrastive/chest_xray.py:{network},size={arg.size},"
        f"manifest={arg.data}/t3_pool.csv{tiny}"
    )
    finetune = load_config(
        f"experiments/finetune/classify.py:{network},size={arg.size},task=t3,kind=softmax,"
        f"labels=pneumonia,manifest={arg.data}/t3_labelled.csv{tiny}"
    )
    held_out = {"manifest": f"{arg.data}/t3_labelled.csv", "where": {"split": ["val", "test"]}}
    for stage in (natural, contrastive, finetune):
        with stage.unlocked():
            # The manifests name images by their absolute paths.
            stage.data.allow_outside = True
            stage.augment.evaluation = {"crop": "resize"}
            # Different films of 28 pixels have like fingerprints.
            stage.data.near_duplicates = -1
    for_a_laptop(natural, contrastive, finetune)
    natural.data.size = 32
    for stage in (contrastive, finetune):
        stage.data.size = arg.size
        stage.data.group = "patient_id"
    contrastive.data.held_out = ({**held_out, "group": "patient_id", "allow_outside": True},)
    contrastive.augment.options = {
        "area_range": (0.25, 1.0),
        "rotation_degrees": 10.0,
        "equalize_probability": 0.0,
        "elastic_probability": 0.0,
        "blur_probability": 0.0,
    }
    finetune.data.classes = ("0", "1")
    finetune.augment.options = {"area_range": (0.5, 1.0)}
    if not arg.tiny:
        # All below: ours, for half an hour on two cores.
        natural.batch_size, natural.total_steps = 128, 500.0
        natural.optimizer.learning_rate = 3e-3
        contrastive.batch_size, contrastive.total_steps = 128, 300.0
        contrastive.optimizer.learning_rate = 2e-3
        contrastive.objective.temperature = 0.2
        contrastive.checkpoint_steps = 100.0
        finetune.batch_size, finetune.total_steps = 64, 150.0
    finetune.checkpoint_steps, finetune.validation_steps = 0.0, None

    config = experiment(
        "Pneumonia on chest X-rays: Guangzhou to NIH",
        finetune,
        id_site="guangzhou",
        ood_site="nih",
    )
    add_chain(config, natural, contrastive, start="CIFAR-10", pool="unlabelled chest X-rays")
    if arg.tiny:
        shortened(config)
    config.command = (
        "python -m experiments.public.prepare --data FOLDER --out runs/real\n"
        "remedis sweep --config experiments/data_efficiency/chest_xray.py --out runs/chest_xray"
    )
    config.notes = (
        f"Images of {arg.size} pixels and a network of half a million parameters: a demonstration "
        "of the protocol.",
        "Guangzhou names no patients: every image counts as one, so two films of one child may be "
        "in training and test, and its intervals are too narrow.",
        "The copy of PneumoniaMNIST that was used is incomplete and not the official file.",
    )
    return config.lock()
