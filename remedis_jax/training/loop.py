"""The training loop of every stage. It reads from top to bottom in the order of execution."""

import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from remedis_jax.data.cases import case_names
from remedis_jax.data.checking import StageCheck, seen_by_stage
from remedis_jax.data.dataset import Dataset
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.data.seen_stages import Seen
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.objectives.interface import Objective, Params
from remedis_jax.training import processes, sharding
from remedis_jax.training.alarm import CollapseAlarm
from remedis_jax.training.build import (
    Built,
    Plan,
    build,
    check_stage_settings,
    encoder_of,
    make_plan,
    peak_rate,
    stream_mode,
)
from remedis_jax.training.card import make_card
from remedis_jax.training.checkpoints import Checkpoints
from remedis_jax.training.class_balance import class_weights_of, strata_of_examples
from remedis_jax.training.input_profile import FILE_NAME as PROFILE
from remedis_jax.training.input_profile import InputFacts, InputProfile
from remedis_jax.training.metric_writers import MetricWriter, write_failure
from remedis_jax.training.prefetch import DevicePrefetch
from remedis_jax.training.progress import StepProgress
from remedis_jax.training.selection import Selection
from remedis_jax.training.state import TrainState, create_state
from remedis_jax.training.stop_signal import StopSignal
from remedis_jax.training.workdir import claim_workdir, write_json, write_parameter_table
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import (
    FILE_NAME,
    Artifact,
    replace_parts,
    save_artifact,
)
from remedis_jax.weights.open import open_weights

# (params on the devices, mesh, step) -> metrics.
Evaluator = Callable[[Any, Mesh, int], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Something that is measured now and then while training goes on, and once at the end.

    Attributes:
        evaluate: Returns the metrics; all processes call it together.
        every_steps: How often; None for the config's `validation_*`.
        at_start: Whether also before the first step.
    """

    evaluate: Evaluator
    every_steps: int | None = None
    at_start: bool = False


class Preempted(RunFailed):
    """The run was told to stop, saved what it had, and goes on when the command is repeated."""

    # EX_TEMPFAIL of sysexits.h: neither done nor failed, try again.
    exit_code = 75


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run leaves.

    Attributes:
        weights: The weights file.
        steps: Updates made over all processes that worked on the run.
        seconds: Wall-clock time of the process that finished the run.
        best_step: After how many the validation was best; None where nothing was selected.
        best: The metric that selects, then.
    """

    weights: Path
    steps: int
    seconds: float
    best_step: int | None = None
    best: float | None = None


def train(
    config: ConfigDict,
    workdir: Path,
    dataset: Dataset,
    *,
    check: StageCheck | None = None,
    parent: Artifact | None = None,
    evaluations: Mapping[str, Evaluation] | None = None,
    selection: Selection | None = None,
    title: str = "",
    announce: Callable[[str], None] = lambda line: None,
) -> Result:
    """Runs one stage, or what is left of it, and writes its weights.

    Repeating the call with the same config and folder goes on from the last checkpoint; a run
    that was interrupted anywhere ends with the same bits as one that was not.

    Args:
        config: From `load_config`.
        workdir: Folder of this run alone.
        dataset: Training rows.
        check: What was found in them, for a run that begins. None for one that goes on, which has
            it in its folder; or for data that nobody has checked, and the weights then say so.
        parent: The weights of `config.init`, where they are loaded already.
        evaluations: By name; their metrics are written as `NAME_METRIC`.
        selection: What the evaluation "validation" decides; None for nothing.
        title: What progress lines begin with.
        announce: Called with a line for the user, such as what loss to expect at the start; in
            the first of several processes.

    Raises:
        UserError: The folder belongs to another config, or the config does not fit the data.
        RunFailed: Loss or gradient is not finite, the embeddings collapsed and the config says to
            stop then, the disk is full, or another process of the run has ended.
        Preempted: SIGTERM or SIGINT arrived; a checkpoint has been saved.
    """
    # --- Network, objective, optimiser: what a config can get wrong -------------------------------
    started = time.monotonic()
    check_stage_settings(config)
    mesh = sharding.make_mesh(config.devices or None)
    sharding.check_batch_size(config.batch_size, mesh)
    plan = make_plan(config, examples_per_epoch(config, dataset))
    built = build(config, plan, mesh, dataset.classes, class_weights_of(config, dataset))

    # --- The work directory, which a config that cannot run leaves free ---------------------------
    workdir = Path(workdir)
    with processes.together():
        if processes.is_first():
            claim_workdir(workdir, config)
            if check is not None:
                check.write(workdir)
    finished = workdir / "result.json"
    if finished.is_file():
        return Result(workdir / FILE_NAME, **json.loads(finished.read_text()))
    with processes.together():
        parent = load_parent(config) if parent is None else parent

    # --- State: a checkpoint of this run > weights of another > random --------------------------
    with Checkpoints(
        workdir / "checkpoints",
        keep=config.checkpoints_to_keep,
        enabled=plan.checkpoint_steps > 0,
    ) as checkpoints:
        state = initial_state(config, dataset, built, mesh, parent)
        data_state = None
        restored = checkpoints.restore(state)
        if restored is not None:
            state, data_state = restored
        first = int(state.step)
        if processes.is_first():
            write_parameter_table(workdir / "parameters.txt", state)
        stream = open_stream(config, dataset, data_state)
        profile = start_profile(config, dataset, data_state, workdir, announce)
        alarm = CollapseAlarm(**config.alarm)
        alarm.replay(workdir / "metrics.jsonl", first)
        if selection is not None:
            selection.replay(workdir / "metrics.jsonl", first)
        chance = built.objective.chance_loss(config.batch_size)
        if first == 0 and chance is not None and processes.is_first():
            announce(f"embeddings that tell nothing would give a loss of {chance:.4g}")

        # --- Steps ------------------------------------------------------------------------------
        # A run that begins anew also forgets what was measured before its first step.
        writer = MetricWriter(workdir, after_step=first or -1, enabled=processes.is_first())
        progress = StepProgress(
            title, plan.total_steps, first=first, enabled=processes.is_first()
        )
        try:
            with StopSignal() as stop, progress as bar, processes.lost_process_explained():
                put = functools.partial(sharding.put_batch, mesh=mesh)
                with DevicePrefetch(stream, put) as batches:
                    state = run_steps(
                        config, plan, built, mesh, state, batches, dataset, checkpoints,
                        writer, bar, stop, evaluations or {}, alarm, announce, profile, selection,
                    )  # fmt: skip
        finally:
            if profile is not None:
                profile.finish()
            stream.close()
            writer.close()

    # --- The artefact, last: a folder with result.json is complete ------------------------------
    card = make_card(config, dataset, parent, int(state.step))
    outcome = {"steps": int(state.step), "seconds": round(time.monotonic() - started, 2)}
    if selection is not None:
        outcome |= {"best_step": selection.best_step, "best": selection.best}
    if selection is not None and selection.keep_best:
        params = selection.best_params(workdir)
    else:
        params = jax.device_get(state.params if state.ema_params is None else state.ema_params)
    with processes.together():
        try:
            if processes.is_first():
                supervised = config.stage == "supervised"
                seen = seen_by_stage(workdir, config.stage, supervised, *ancestors(parent))
                save_artifact(workdir / FILE_NAME, params, card, seen)
                write_json(finished, outcome)
                if selection is not None:
                    selection.forget(workdir)
        except OSError as error:
            raise write_failure(workdir / FILE_NAME, error) from error
    return Result(workdir / FILE_NAME, **outcome)


def run_steps(
    config: ConfigDict,
    plan: Plan,
    built: Built,
    mesh: Mesh,
    state: TrainState,
    batches: DevicePrefetch,
    dataset: Dataset,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    bar: StepProgress,
    stop: "StopSignal",
    evaluations: Mapping[str, Evaluation],
    alarm: CollapseAlarm,
    announce: Callable[[str], None],
    profile: InputProfile | None,
    selection: Selection | None,
) -> TrainState:
    """Makes the remaining steps. Each: batch, step, metrics of the step before, checkpoint."""
    root_key = sharding.put_replicated_key(jax.random.key(config.seed), mesh)
    rate = sharding.put_replicated(np.float32(peak_rate(config)), mesh)
    step = int(state.step)
    pending = None  # The step whose metrics have not been read yet.
    clock = time.monotonic()
    given, make_step = iter(batches), built.step
    if profile is not None:
        given, make_step = profile.watch(batches, built.step)

    def read_pending():
        """Waits for the pending step; its metrics are checked before anything builds on it."""
        nonlocal pending, clock
        if pending is None:
            return
        at, metrics, rows = pending
        pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.monotonic()
        rate = config.batch_size / max(now - clock, 1e-9)
        clock = now
        record(at, values | {"examples_per_second": round(rate, 2)})
        if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
            raise _not_finite(at, values, rows, dataset, checkpoints)
        bar.update(at, examples_per_second=rate, loss=values["loss"])

    def record(at, values):
        writer.write(at, values)
        warning = alarm.look(at, values)
        if warning is not None and processes.is_first():
            announce(warning)

    def measure(wanted):
        """Evaluates what is wanted on the parameters that would be saved at this step."""
        nonlocal clock
        for name in wanted:
            start = time.monotonic()
            params = state.params if state.ema_params is None else state.ema_params
            scores = dict(evaluations[name].evaluate(params, mesh, step))
            scores["seconds"] = round(time.monotonic() - start, 3)
            record(step, {f"{name}_{key}": value for key, value in scores.items()})
            if selection is not None and name == "validation":
                selection.look(step, scores, params, writer.path.parent)
        clock = time.monotonic()

    if step == 0:
        measure([name for name, evaluation in evaluations.items() if evaluation.at_start])
    enough = selection is not None and selection.exhausted
    while step < plan.total_steps and not enough:
        ready = next(given)
        state, metrics = make_step(state, ready.batch, root_key, rate)
        step += 1
        # While the device works on this step, the host reads the one before.
        read_pending()
        pending = (step, metrics, ready.rows)

        last = step == plan.total_steps
        due = [
            name
            for name, evaluation in evaluations.items()
            if last or step % (evaluation.every_steps or plan.validation_steps) == 0
        ]
        if due:
            read_pending()
            measure(due)
        enough = selection is not None and selection.exhausted
        if enough and not last and processes.is_first():
            announce(
                f"stopped early after step {step}: no better {selection.metric} than "
                f"{selection.best:.4g} of step {selection.best_step}"
            )
        last = last or enough
        stopping = stop.agreed(step)
        if last or stopping or (step % (plan.checkpoint_steps or plan.total_steps) == 0):
            read_pending()
            checkpoints.save(state, batches.state())
        if stopping and not last:
            checkpoints.wait()
            kept = checkpoints.latest_step
            raise Preempted(
                f"Stopped by {stop.received or 'a signal to another process'} after step {step} "
                f"of {plan.total_steps}; "
                + ("saved." if kept == step else "this run keeps no checkpoints."),
                "Repeat the command to go on.",
            )
    read_pending()
    checkpoints.wait()
    return state


def examples_per_epoch(config: ConfigDict, dataset: Dataset) -> int:
    """What an epoch is counted in: images, or cases where batches are of cases."""
    if stream_mode(config) == "cases":
        return len(set(case_names(config.data, dataset.manifest)))
    return dataset.examples


def open_stream(
    config: ConfigDict, dataset: Dataset, data_state: Mapping[str, Any] | None
) -> TrainStream:
    """This process's share of the batches, from the beginning or from a checkpoint's position."""
    mode = stream_mode(config)
    settings = {
        "labels": dataset.labels,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "mode": mode,
        "cases": case_names(config.data, dataset.manifest) if mode == "cases" else None,
        "bags": dataset.cases if mode == "bags" else None,
        "strata": strata_of_examples(config, dataset),
        "workers": config.data.workers if dataset.decodes else 0,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
    if data_state is None:
        return TrainStream(dataset.source, **settings)
    return TrainStream.from_state(dataset.source, state=data_state, **settings)


def start_profile(
    config: ConfigDict,
    dataset: Dataset,
    data_state: Mapping[str, Any] | None,
    workdir: Path,
    announce: Callable[[str], None],
) -> InputProfile | None:
    """What measures the input of a run, if the config wants it; the first process alone speaks."""
    if not config.profile_input:
        return None
    first = processes.is_first()
    profile = InputProfile(
        workdir / PROFILE if first else None,
        config.batch_size,
        InputFacts.of(config.data, dataset),
        announce=announce if first else lambda line: None,
    )
    profile.measure_input(lambda: open_stream(config, dataset, data_state))
    return profile


def initial_state(
    config: ConfigDict, dataset: Dataset, built: Built, mesh: Mesh, parent: Artifact | None
) -> TrainState:
    """State before the first step."""
    params = initial_params(config, built.objective, dataset.source.image_shape, parent)
    model_state = built.objective.init_state(config.seed, params)
    params, model_state = sharding.put_replicated((params, model_state), mesh)
    state = create_state(params, model_state, built.optimizer, ema=bool(config.ema_decay))
    # The counters too: what is not on the mesh has another type than what the first step returns,
    # and the step would be compiled twice.
    return sharding.put_replicated(state, mesh)


def initial_params(
    config: ConfigDict,
    objective: Objective,
    image_shape: tuple[int, int, int],
    parent: Artifact | None,
) -> Params:
    """Random parameters, with the parent's encoder where there is one; numpy arrays."""
    params = objective.init_params(config.seed, image_shape)
    if parent is None:
        return params
    return replace_parts(params, parent, tuple(config.init_parts), tuple(config.dont_load))


def ancestors(parent: Artifact | None) -> tuple[Seen | None, str | None]:
    """What the initial weights have seen, and the stage that they come from."""
    return (None, None) if parent is None else (parent.seen, parent.card["stage"])


def load_parent(config: ConfigDict) -> Artifact | None:
    """The weights that a run starts from.

    Raises:
        UserError: They cannot be used, or read other values than the config's model.
    """
    if not config.init:
        return None
    parent = open_weights(config.init, dont_load=tuple(config.dont_load))
    theirs, own = encoder_spec(parent.card), encoder_of(config)
    if theirs.value_range != own.value_range:
        raise UserError(
            f"{parent.path} reads values in {theirs.value_range}, the config's model in "
            f"{own.value_range}.",
            f"Set model.value_range={theirs.value_range}.",
        )
    return parent


def _not_finite(
    step: int,
    values: Mapping[str, float],
    rows: np.ndarray,
    dataset: Dataset,
    checkpoints: Checkpoints,
) -> RunFailed:
    """The error for a diverged run, naming the batch."""
    checkpoints.wait()
    names = dataset.names(rows)
    kept = checkpoints.latest_step
    saved = f"the checkpoint of step {kept} is intact" if kept else "no checkpoint was made before"
    return RunFailed(
        f"Loss {values['loss']} and gradient norm {values['grad_norm']} at step {step}, batch of "
        f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}; {saved}.",
        "Lower optimizer.learning_rate, lengthen the warm-up or set optimizer.clip_norm.",
    )
