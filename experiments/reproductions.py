"""Every figure and table of the REMEDIS paper that is known of, as cells of one table.

    remedis reproduce --list --task t3        what there is, what it needs, what came out
    remedis reproduce --cell ID               one of them, with its command
    remedis reproduce --render                docs/reproductions.md and the table of the README

The paper is Azizi et al., Nature Biomedical Engineering 2023 (arXiv 2205.09723). Its text was not
available to whoever wrote this: abstract, data availability statement, the released code and the
opening of the blog post were. So cells are named by what they show and not by the paper's numbers
of figures; an expected value stands only where one of these sources gives it; and a cell is open
until somebody runs it on the paper's own data. What was run on other data are stand-ins
(`experiments.reproduced.stand_ins`), which fill none of the paper's cells. Obtained values stand in
`experiments/reproductions.csv`.
"""

import dataclasses

from experiments.reproduced.cell import Cell, Expected, Source
from experiments.reproduced.paper_sources import LABELLED, UNLABELLED, WEIGHTS
from experiments.reproduced.stand_ins import STAND_INS
from remedis_jax.tasks.specification import CLINICAL, TASKS
from remedis_jax.tasks.task import FROM_MEMORY, NOT_KNOWN, VERIFIED

MODELS = ("r50x1", "r152x2")
ARMS = {
    "standard": "ImageNet weights, no self-supervision",
    "strong": "JFT-300M weights, no self-supervision",
    "remedis": "JFT-300M weights and SimCLR on the modality",
}
METHODS = ("simclr", "moco_v2", "relic", "barlow_twins")
METRICS = {
    "t1": "top-3 accuracy",
    "t2": "AUROC",
    "t3": "mean AUROC of five findings",
    "t4": "AUROC",
    "t5": "AUROC at five years",
    "t6": "AUROC",
}

# Key: (what it shows, how sure it is that the paper has it).
FIGURES = {
    "headline": ("The three numbers of the abstract and of the blog post", VERIFIED),
    "in-distribution": ("In-distribution accuracy by task, network and arm", FROM_MEMORY),
    "zero-shot": ("Accuracy at the new site without any of its labels", FROM_MEMORY),
    "curve": ("Accuracy at the new site by the share of its labels, at both sizes of network",
              FROM_MEMORY),
    "saving": ("Overview: how much fewer labels by task", FROM_MEMORY),
    "methods": ("SimCLR, MoCo v2, RELIC and Barlow Twins on T1 to T3", FROM_MEMORY),
    "hours": ("Clinicians' hours saved by task", FROM_MEMORY),
    "ablation": ("What each part contributes", FROM_MEMORY),
    "overview": ("The drawing of the method: nothing to measure", FROM_MEMORY),
    "settings": ("Tables of data, of settings and of scores per data set", NOT_KNOWN),
    "stand-in": ("Runs of this project on other data", ""),
}  # fmt: skip

_ABSTRACT = "abstract, arXiv 2205.09723"
_BLOG = "Google AI blog post on REMEDIS"
_NO_NUMBER = "No number of the paper was found in a source that could be read."


def _start(arm: str, model: str) -> str:
    """Weights that fine-tuning of an arm starts from."""
    return {"standard": f"bit-s-{model}", "strong": f"bit-m-{model}"}.get(arm, "{out}/ssl")


def _pretraining(task: str, model: str, init: str | None = None) -> str:
    init = f"bit-m-{model}" if init is None else init
    return (
        f"remedis train --config experiments/contrastive/{TASKS[task].modality}.py:"
        f"model={model},init={init},manifest={{data}}/{task}/unlabelled.csv,"
        f"held_out={{data}}/{task}/labelled.csv --workdir {{out}}/ssl"
    )


def _grid(task: str, model: str, arm: str, start: str, rows: str) -> str:
    return (
        f"experiments/finetune/grid.py:task={task},model={model},"
        f"manifest={{data}}/{task}/labelled.csv,arms={arm}={start},{rows}"
    )


def _direct(task: str, model: str, arm: str) -> tuple[str, tuple[str, ...]]:
    """Config and commands of one arm on the first site, tested on both."""
    rows = "site=in_distribution,ood_site=out_of_distribution"
    config = _grid(task, model, arm, _start(arm, model), rows)
    before = (_pretraining(task, model),) if arm == "remedis" else ()
    return config, (*before, f"remedis sweep --config '{config}' --out {{out}}/grid")


def _curve(task: str, model: str, method: str = "") -> tuple[str, tuple[str, ...]]:
    """Config and command of all arms, tuned on growing shares of the new site's labels.

    Args:
        task: t1 to t6.
        model: The network.
        method: Of self-supervision, or "" for the supervised arms alone.
    """
    parts = [f"task={task}", f"models={model}", f"manifest={{data}}/{task}/labelled.csv",
             "id_site=in_distribution", "ood_site=out_of_distribution", "random=False"]  # fmt: skip
    if method:
        parts += [f"pool={{data}}/{task}/unlabelled.csv", f"methods={method}"]
    if task == "t1":
        # The paper's, from memory; the task's own is top-1.
        parts.append("metric=top3_accuracy")
    config = f"experiments/data_efficiency/task.py:{','.join(parts)}"
    return config, (f"remedis sweep --config '{config}' --out {{out}}/curve",)


def _sources(task: str, arm: str, model: str) -> tuple[Source, ...]:
    weights = WEIGHTS["standard" if arm == "standard" else "strong"]
    weights = dataclasses.replace(weights, how=weights.how.format(model=model))
    pool = () if arm in ("standard", "strong") else UNLABELLED[task]
    return (*LABELLED[task], *pool, weights)


def _pair(task: str) -> str:
    """The public pair in the place of the paper's sites."""
    first, new = TASKS[task].in_distribution[0], TASKS[task].out_of_distribution[0]
    named = []
    for data_set in (first, new):
        rows = ", ".join("/".join(values) for values in data_set.rows.values())
        named.append(f"{data_set.name.partition(',')[0]}{f' ({rows})' if rows else ''}")
    # One set whose hospitals are held out.
    return " to ".join(named) if named[0] != named[1] else f"{named[0]}, hospitals held out"


def _cell(figure: str, task: str, model: str, arm: str, what: str, config: str,
          commands: tuple[str, ...], **more) -> Cell:  # fmt: skip
    """A cell of the paper that is run on the files of one task."""
    pool = arm not in ("standard", "strong")
    return Cell(
        id="-".join(filter(None, (figure, task, model if figure != "methods" else "", arm))),
        kind="paper", figure=figure, what=what, task=task, arm=arm, model=model, config=config,
        commands=commands, sources=_sources(task, arm, model), stand_in=_pair(task),
        needs=(f"{task}/labelled.csv", *((f"{task}/unlabelled.csv",) if pool else ())),
        **({"note": _NO_NUMBER} | more),
    )  # fmt: skip


def _computed(cell_id: str, figure: str, task: str, what: str, of: tuple[Cell, ...], **more):
    """A cell of the paper that follows from others."""
    sources = tuple(dict.fromkeys(source for cell in of for source in cell.sources))
    return Cell(
        id=cell_id, kind="paper", figure=figure, what=what, task=task, arm="remedis",
        model="", config="", commands=(), sources=sources, stand_in=_pair(task) if task else "",
        computed_from=tuple(cell.id for cell in of), **({"note": _NO_NUMBER} | more),
    )  # fmt: skip


def _paper_cells() -> tuple[Cell, ...]:
    direct, curves, methods = [], [], []
    for task in CLINICAL:
        for model in MODELS:
            for arm in ARMS:
                config, commands = _direct(task, model, arm)
                sites = {"in-distribution": "the first site", "zero-shot": "the new site"}
                for figure, site in sites.items():
                    what = f"{METRICS[task]}, test rows of {site}"
                    direct.append(_cell(figure, task, model, arm, what, config, commands))
                config, commands = _curve(task, model, "simclr" if arm == "remedis" else "")
                what = f"{METRICS[task]} at the new site by the share of its labels"
                curves.append(_cell("curve", task, model, arm, what, config, commands))
    for task in CLINICAL[:3]:
        for method in METHODS:
            config, commands = _curve(task, MODELS[0], method)
            what = f"{METRICS[task]} at the new site by the share of its labels"
            note = f"{_NO_NUMBER} Nor is the size of its network known."
            cell = _cell("methods", task, MODELS[0], method, what, config, commands, note=note)
            methods.append(cell)
    savings, hours = [], []
    for task in CLINICAL:
        of = tuple(cell for cell in curves if cell.task == task and cell.arm != "standard")
        what = "labels of the new site that match the strong arm with all of them: 1 / share"
        savings.append(_computed(f"saving-{task}", "saving", task, what, of))
        note = f"{_NO_NUMBER} Nor are its minutes per label known."
        what = "labels saved x minutes per label"
        hours.append(_computed(f"hours-{task}", "hours", task, what, of, note=note))
    headline = _headline(tuple(direct), tuple(curves))
    return (*headline, *direct, *curves, *savings, *methods, *hours,
            *_ablations(tuple(direct)))  # fmt: skip


def _headline(direct: tuple[Cell, ...], curves: tuple[Cell, ...]) -> tuple[Cell, ...]:
    first = tuple(c for c in direct if c.figure == "in-distribution")
    rest = tuple(c for c in curves if c.arm != "standard")
    note = "Over all tasks; which task gives which end is not known."
    return (
        _computed("headline-gain", "headline", "",
                  "largest relative gain in distribution over strong supervised baselines", first,
                  expected=Expected("up to 11.5%, relative", _ABSTRACT), note=note),
        _computed("headline-share", "headline", "",
                  "share of the new site's training data that matches the strong arm with all of "
                  "them", rest, expected=Expected("1% to 33%", _ABSTRACT), note=note),
        _computed("headline-saving", "headline", "", "how much less data of the new site", rest,
                  expected=Expected("3 to 100 times", _BLOG),
                  note="The same statement as headline-share, the other way round."),
    )  # fmt: skip


def _ablations(direct: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Known to exist, weakly; neither their tasks nor their values are known."""
    task, model = "t3", MODELS[0]
    note = f"{_NO_NUMBER} Nor is it known for which tasks it is shown; {task} is ours."
    what = f"{METRICS[task]} at both sites"
    config = _grid(task, model, "random_start", "{out}/ssl",
                   "site=in_distribution,ood_site=out_of_distribution")  # fmt: skip
    sweep = f"remedis sweep --config '{config}' --out {{out}}/grid"
    part = config.replace("random_start", "tenth_of_pool")
    zero = tuple(cell for cell in direct if cell.figure == "zero-shot" and cell.task == task)
    return (
        _cell("ablation", task, model, "random_start",
              f"{what}, self-supervision without natural images before", config,
              (_pretraining(task, model, init=""), sweep), note=note),
        _cell("ablation", task, model, "tenth_of_pool",
              f"{what}, by the share of the unlabelled images", part,
              (f"{_pretraining(task, model)} --set data.fraction=0.1",
               sweep.replace("random_start", "tenth_of_pool")), note=note),
        _computed("ablation-without-ssl", "ablation", task, f"{what}, natural images alone",
                  tuple(c for c in zero if c.arm == "strong"), note=note),
        _computed("ablation-backbone", "ablation", task, f"{what}, by the size of the network",
                  zero, note=note),
    )  # fmt: skip


PAPER_CELLS = _paper_cells()
CELLS = (*PAPER_CELLS, *STAND_INS)
