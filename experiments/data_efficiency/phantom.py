"""Does self-supervision save labels of a new hospital? On generated images.

Command:   remedis sweep --config experiments/data_efficiency/phantom.py --out runs/phantom
           on a folder that `remedis_jax.data.phantom.write_phantom` made; the short form of it,
           which makes the folder too, is `remedis demo`
Hardware:  two CPU cores, under 4 GB of memory.
Time:      see docs/reproduction.md; the demo's in the README.
Expected:  see docs/reproduction.md.

All arms are fine-tuned in the same way. They differ in where that starts: at random, from natural
images, or from natural images and then a contrastive stage on unlabelled films.
"""

from experiments.data_efficiency._experiment import (
    add_chain,
    experiment,
    for_a_laptop,
    shortened,
)
from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    # demo: two arms, four shares and three seeds, for a few minutes.
    arg = parse_arg(arg, data="runs/demo/data", demo=False, tiny=False)
    tiny = ",tiny" if arg.tiny else ""
    network = "model=r14x0.25,stem=cifar_stride2,size=32"
    held_out = {"manifest": f"{arg.data}/labelled/manifest.csv", "where": {"split": "test"}}

    natural = load_config(
        f"experiments/bit/natural.py:{network},manifest={arg.data}/natural/manifest.csv{tiny}"
    )
    contrastive = load_config(
        f"experiments/contrastive/simclr.py:{network},task=phantom,"
        f"manifest={arg.data}/pool/manifest.csv{tiny}"
    )
    finetune = load_config(
        f"experiments/finetune/classify.py:{network},task=phantom,"
        f"manifest={arg.data}/labelled/manifest.csv{tiny}"
    )
    for stage in (natural, contrastive, finetune):
        with stage.unlocked():
            stage.data.channels = 1
            stage.augment.evaluation = {"crop": "resize"}
    contrastive.data.group = "patient_id"
    contrastive.data.held_out = ({**held_out, "group": "patient_id"},)
    finetune.data.classes = ("absent", "present")

    if not arg.tiny:
        # All below: ours, for minutes on two cores.
        for_a_laptop(natural, contrastive, finetune)
        for stage in (natural, contrastive, finetune):
            # The films' own size: the disease is a fine pattern, and resampling would blur it.
            stage.data.size = 32
        natural.batch_size, natural.total_steps = 128, 100.0
        natural.optimizer.learning_rate = 3e-3
        contrastive.batch_size, contrastive.total_steps = 128, 260.0
        contrastive.optimizer.learning_rate = 2e-3
        contrastive.objective.temperature = 0.2
        # Crop, flip, brightness and contrast. At 32 pixels blur and elastic deformation erase the
        # fine pattern that is the disease.
        contrastive.augment.options = {
            "elastic_probability": 0.0,
            "rotation_degrees": 0.0,
            "equalize_probability": 0.0,
            "blur_probability": 0.0,
            "area_range": (0.25, 1.0),
        }
        contrastive.checkpoint_steps = 50.0
        finetune.batch_size, finetune.total_steps = 64, 60.0
        finetune.augment.options = {"area_range": (0.5, 1.0)}
    # Runs of seconds need no checkpoints; an interrupted one begins anew.
    finetune.checkpoint_steps, finetune.validation_steps = 0.0, None

    config = experiment(
        "The phantom: two invented hospitals",
        finetune,
        id_site="hospital_a",
        ood_site="hospital_b",
    )
    config.characteristics = ("age", "sex")
    # An invented price for invented labels, so that the report shows what it makes of one.
    config.minutes_per_label = 5.0
    config.minutes_source = "invented, as the hospitals are: 5 minutes per patient"
    add_chain(
        config, natural, contrastive, start="natural images", pool="unlabelled films",
        random=not arg.demo,
    )  # fmt: skip
    if arg.demo:
        config.seeds, config.fractions = (0, 1, 2), (0.0, 0.03, 0.1, 0.25, 1.0)
    if arg.tiny:
        shortened(config)
    form = ",demo" if arg.demo else ""
    config.command = (
        f"remedis sweep --config experiments/data_efficiency/phantom.py:data={arg.data}{form} "
        "--out FOLDER"
    )
    if arg.demo:
        config.command = "remedis demo"
    config.notes = (
        "All images are generated; nothing here is about real patients.",
        "Every fine-tuning run has 60 steps, so that the whole ends in minutes. Longer runs lift "
        "the arm without self-supervision more than the other.",
    )
    return config.lock()
