"""What was, or is to be, run here on data that anybody can have. None of it is a cell of the paper.

Small images, a small network and other data: these show that the chain runs and what comes of it,
and say nothing of the paper's numbers.
"""

from experiments.reproduced.cell import Cell, Source

_OPEN = "open download"
_SOURCES = {
    "phantom": (Source("phantom (invented images)", "generated", "made by the command"),),
    "ham10000": (
        Source("HAM10000", "public", _OPEN),
        Source("CIFAR-10", "public", _OPEN),
    ),
    "chest_xray": (
        Source("PneumoniaMNIST (Guangzhou)", "public", _OPEN),
        Source("NIH ChestX-ray14, a small part", "public", _OPEN),
        Source("CIFAR-10", "public", _OPEN),
    ),
}
# experiments.public.prepare writes the manifests of all of them at once.
_PUBLIC_FILES = tuple(
    f"{name}/manifest.csv" for name in ("cifar10", "ham10000", "cxr_guangzhou", "cxr_nih")
)
_TASKS = {"phantom": "phantom", "ham10000": "t1", "chest_xray": "t3"}
_TITLES = {
    "phantom": "the phantom, hospital A to hospital B",
    "ham10000": "HAM10000, rosendahl to vidir_modern",
    "chest_xray": "chest X-rays, Guangzhou to NIH",
}
_MODEL = "r14x0.25"

_PREPARE = "python -m experiments.public.prepare --data {data} --out {out}/real"
_WRITE_PHANTOM = (
    "python -c 'import pathlib, sys; from remedis_jax.data.phantom import PhantomSize, "
    "write_phantom; write_phantom(pathlib.Path(sys.argv[1]), size=32, "
    "scale=PhantomSize(hospital_a_train=40))' {out}/data"
)

# What the rows of an experiment are called in the arms' cells.
_ARMS = {
    "random": "random weights",
    "supervised": "natural images",
    "self_supervised": "natural images and SimCLR",
    "difference": "natural images and SimCLR minus natural images, paired",
    "share": "natural images and SimCLR",
}
_POINTS = "in distribution, zero-shot, and fine-tuned on shares of the new site's labels"


def _experiment(
    prefix: str,
    data: str,
    what: str,
    config: str,
    commands: tuple[str, ...],
    needs: tuple[str, ...],
    arms: tuple[str, ...],
    note: str = "",
) -> list[Cell]:
    """The cells of a comparison of arms: one an arm, their difference, the share that is enough."""
    cells = []
    for arm in arms:
        shown = "share of the new site's labels that matches natural images with all of them"
        cells.append(
            Cell(
                id=f"stand-in-{prefix}-{arm}", kind="stand-in", figure="stand-in",
                what=f"{_TITLES[data]}: {shown if arm == 'share' else what}",
                task=_TASKS[data], arm=_ARMS[arm], model=_MODEL, config=config, commands=commands,
                needs=needs, sources=_SOURCES[data], note=note,
            )
        )  # fmt: skip
    return cells


def _full(data: str, prepare: str, folder: str, needs: tuple[str, ...]) -> list[Cell]:
    """Three arms, nine shares of labels, five seeds."""
    config = f"experiments/data_efficiency/{data}.py:data={{out}}/{folder}"
    commands = (prepare, f"remedis sweep --config {config} --out {{out}}/experiment")
    arms = ("random", "supervised", "self_supervised", "difference", "share")
    what = f"AUROC by patient, {_POINTS} (5 seeds)"
    return _experiment(f"{data}-full", data, what, config, commands, needs, arms)


def _tuned_grid(task: str, data: str, metrics: str, *, sites: str, options: str, sets: str,
                size: int, pool_config: str, pool_sets: str, batch: int,
                steps: int) -> list[Cell]:  # fmt: skip
    """A task's own configs in the small: natural images, self-supervision, the grid."""
    small = (
        "--set data.allow_outside=True --set optimizer.name=adamw --set optimizer.scaling=none "
        "--set optimizer.weight_decay=1e-4 --set batch_size=128 "
        "--set \"augment.evaluation={'crop':'resize'}\""
    )
    network = f"model={_MODEL},stem=cifar_stride2"
    group = "lesion_id" if data == "ham10000" else "patient_id"
    held_out = (
        f"--set \"data.held_out=({{'manifest': '{{out}}/real/{task}_labelled.csv', "
        f"'where': {{'split': ['val', 'test']}}, 'group': '{group}', 'allow_outside': True}},)\""
    )
    config = (
        f"experiments/finetune/grid.py:task={task},model={_MODEL},size={size},"
        f"manifest={{out}}/real/{task}_labelled.csv,"
        f"arms=natural={{out}}/natural;simclr={{out}}/simclr,{sites},rates=0.01;0.03;0.1,"
        f"decays=0.0;0.001,seeds=0;1;2,options=stem=cifar_stride2;{options}"
    )
    commands = (
        _PREPARE,
        f"remedis train --config experiments/bit/natural.py:{network},size=32,"
        f"manifest={{out}}/real/natural.csv {small} --set data.size=32 "
        "--set optimizer.learning_rate=0.003 --set total_steps=500 --set warmup_steps=50 "
        "--set checkpoint_steps=100 --workdir {out}/natural",
        f"remedis train --config experiments/contrastive/{pool_config}:{network},size={size},"
        f"manifest={{out}}/real/{task}_pool.csv,init={{out}}/natural{pool_sets} {small} {held_out} "
        f"--set data.size={size} --set optimizer.learning_rate=0.002 "
        f"--set objective.temperature=0.2 --set total_steps={steps} "
        f"--set warmup_steps={steps // 10} --set checkpoint_steps=100 --workdir {{out}}/simclr",
        f"remedis sweep --out {{out}}/grid --config '{config}' "
        "--set \"augment.evaluation={'crop':'resize'}\" --set data.allow_outside=True "
        f"--set data.size={size} {sets} --set \"augment.options={{'area_range': (0.5, 1.0)}}\" "
        "--set total_steps=300 --set warmup_steps=30 --set validation_steps=30 "
        f"--set checkpoint_steps=100 --set batch_size={batch}",
    )
    what = f"{metrics}, in distribution and zero-shot (3 seeds)"
    arms = ("supervised", "self_supervised", "difference")
    return _experiment(f"{task}-grid", data, what, config, commands, _PUBLIC_FILES, arms)


def _methods(data: str, needs: tuple[str, ...], names: tuple[str, ...]) -> list[Cell]:
    """Features of every method by their neighbours."""
    config = f"experiments/data_efficiency/{data}.py:data={{out}}/data"
    files = "" if data == "phantom" else " --data {data}"
    command = f"python -m experiments.methods.compare {data}{files} --out {{out}}"
    where = _TITLES[data].partition(",")[0]
    return [
        Cell(
            id=f"stand-in-neighbours-{data}-{name}", kind="stand-in", figure="stand-in",
            what=f"{where}: accuracy of 20 nearest neighbours in frozen features", arm=name,
            task=_TASKS[data], model=_MODEL, config=config, commands=(command,), needs=needs,
            sources=_SOURCES[data], note="One seed; intervals over test patients.",
        )
        for name in names
    ]  # fmt: skip


_STARTS = (
    "untrained", "natural", "simclr", "micle", "moco_v2", "moco_v3", "relic", "barlow_twins",
    "byol", "vicreg",
)  # fmt: skip
_EARLIER = (
    "Run with an earlier form of the config, which is gone; the cells stand-in-ham10000-full-* "
    "take its place."
)

STAND_INS: tuple[Cell, ...] = (
    *_experiment(
        "phantom-demo", "phantom", f"AUROC by patient, {_POINTS} (3 seeds)",
        "experiments/data_efficiency/phantom.py:data={out}/data,demo",
        ("remedis demo --out {out}",), (),
        ("supervised", "self_supervised", "difference", "share"),
    ),
    *_full("phantom", _WRITE_PHANTOM, "data", ()),
    *_experiment(
        "ham10000-first", "ham10000", f"AUROC by lesion, {_POINTS} (3 seeds)",
        "experiments/data_efficiency/ham10000.py:data={out}/real", (), (),
        ("supervised", "self_supervised", "difference", "share"), note=_EARLIER,
    ),
    *_full("ham10000", _PREPARE, "real", _PUBLIC_FILES),
    *_full("chest_xray", _PREPARE, "real", _PUBLIC_FILES),
    *_tuned_grid(
        "t1", "ham10000", "accuracy by lesion",
        sites="site=rosendahl,ood_site=vidir_modern",
        options="labels=dx;group=lesion_id;case=lesion_id", sets="--set data.case_images=2",
        size=48, batch=16, steps=400, pool_config="dermatology.py",
        pool_sets=",group=lesion_id --set augment.recipe=simclr_small "
        "--set \"augment.options={'area_range': (0.2, 1.0)}\"",
    ),
    *_tuned_grid(
        "t3", "chest_xray", "AUROC and AUPRC of pneumonia by image",
        sites="site=guangzhou,ood_site=nih", options="labels=pneumonia",
        sets="--set data.near_duplicates=-1", size=28, batch=64, steps=300,
        pool_config="chest_xray.py",
        pool_sets=" --set data.near_duplicates=-1 --set \"augment.options={'area_range': "
        "(0.25, 1.0), 'rotation_degrees': 10.0, 'equalize_probability': 0.0, "
        "'elastic_probability': 0.0, 'blur_probability': 0.0}\"",
    ),
    *_methods("phantom", (), _STARTS),
    *_methods("ham10000", ("cifar10/manifest.csv", "ham10000/manifest.csv"), _STARTS),
)  # fmt: skip
