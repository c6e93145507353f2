"""Training as functions: a stage, and a whole experiment."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from remedis_jax.api.reporting import write_report

Progress = Callable[[int, int], None]


def train(
    config: str | ConfigDict,
    workdir: str | Path,
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
):
    """Runs one stage, or goes on with it.

    Args:
        config: `FILE.py[:ARGUMENTS]`, or a config.
        workdir: The run's folder.
        overrides: `dotted.key=value` pairs.
        progress: Called with (done, total) while the images are checked, before the first start.
        announce: Called with lines for the user, such as the collapse alarm's.

    Returns:
        A `remedis_jax.training.loop.Result`.

    Raises:
        UserError: The config or the data cannot be used.
        RunFailed: The run started and did not finish.
    """
    from remedis_jax.data.checking import BAD_IMAGES, check_stage, skipped
    from remedis_jax.data.dataset import open_training
    from remedis_jax.data.seen_stages import after
    from remedis_jax.evaluation.finetuning import finetune
    from remedis_jax.evaluation.monitor import Monitor
    from remedis_jax.objectives.supervised import label_kind
    from remedis_jax.report.model_card import write_model_card
    from remedis_jax.training import loop, processes
    from remedis_jax.training.build import make_plan
    from remedis_jax.training.config import load_config
    from remedis_jax.training.workdir import check_workdir, is_new

    if isinstance(config, str):
        config = load_config(config, tuple(overrides))
    workdir = Path(workdir)
    supervised = config.stage == "supervised"
    kind = label_kind(config.objective.kind) if supervised else None
    # The folder is claimed when the data are known to be good, so that a mistake in the command
    # does not leave a folder behind that the corrected command must not use.
    with processes.together():
        if processes.is_first():
            check_workdir(workdir, config)
    evaluations, check, parent = {}, None, None
    with processes.together():
        if is_new(workdir):
            parent = loop.load_parent(config)
            seen = after(*loop.ancestors(parent))
            check = check_stage(
                config.data, kind, stage=config.stage, parent=seen, progress=progress
            )
            if check.findings.stamp() and processes.is_first():
                announce(check.findings.stamp())
        skip = skipped(workdir) if check is None else check.skip
        if skip and processes.is_first():
            announce(f"{len(skip):,} image(s) are left out; {workdir / BAD_IMAGES} lists them")
        dataset = None if supervised else open_training(config.data, kind, skip)
        if not supervised and config.monitor.images:
            plan = make_plan(config, loop.examples_per_epoch(config, dataset))
            monitor = Monitor(config, dataset, workdir, plan.total_steps)
            if monitor.declared and is_new(workdir) and processes.is_first():
                announce(monitor.declared)
            evaluations["monitor"] = loop.Evaluation(monitor, monitor.every_steps, at_start=True)
    settings = {
        "check": check, "parent": parent, "title": workdir.name, "announce": announce,
    }  # fmt: skip
    if supervised:
        result, _ = finetune(config, workdir, skip=skip, progress=progress, **settings)
    else:
        result = loop.train(config, workdir, dataset, evaluations=evaluations, **settings)
    if processes.is_first():
        write_model_card(result.weights, workdir / "model_card.md")
    return result


def run_experiment(
    config: str,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    allow_leakage: bool = False,
    announce: Callable[[str], None] = print,
    show: bool = False,
) -> Path:
    """Runs a data-efficiency experiment and writes its report.

    Args:
        config: `FILE.py[:ARGUMENTS]` under `experiments/data_efficiency/`.
        out: The experiment's folder.
        overrides: `dotted.key=value` pairs.
        allow_leakage: Go on although patients or images are shared; stamps every report.
        announce: Called with a line for each thing that starts.
        show: Also print the tables of the report.

    Returns:
        The HTML page.
    """
    from remedis_jax.evaluation import data_efficiency
    from remedis_jax.training.config import load_config

    loaded = load_config(config, tuple(overrides))
    if allow_leakage:
        data_efficiency.allow_leakage(loaded)
    data_efficiency.run_experiment(loaded, Path(out), announce=announce)
    return write_report(out, show=show)
