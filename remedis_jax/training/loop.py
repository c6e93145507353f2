"""The training loop of every stage. It reads from top to bottom in the order of execution."""

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from remedis_jax.data.dataset import Dataset, case_names
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.training import processes, sharding
from remedis_jax.training.alarm import CollapseAlarm
from remedis_jax.training.build import (
    Built,
    Plan,
    build,
    encoder_of,
    make_plan,
    peak_rate,
    stream_mode,
)
from remedis_jax.training.card import make_card
from remedis_jax.training.checkpoints import Checkpoints
from remedis_jax.training.config import differing_keys, to_json
from remedis_jax.training.metric_writers import MetricWriter, write_failure
from remedis_jax.training.progress import StepProgress
from remedis_jax.training.state import TrainState, create_state
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
    """

    weights: Path
    steps: int
    seconds: float


def train(
    config: ConfigDict,
    workdir: Path,
    dataset: Dataset,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
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
        evaluations: By name; their metrics are written as `NAME_METRIC`.
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
    mesh = sharding.make_mesh(config.devices or None)
    sharding.check_batch_size(config.batch_size, mesh)
    plan = make_plan(config, examples_per_epoch(config, dataset))
    built = build(config, plan, mesh, dataset.classes)

    # --- The work directory, which a config that cannot run leaves free ---------------------------
    workdir = Path(workdir)
    with processes.together():
        if processes.is_first():
            claim_workdir(workdir, config)
    finished = workdir / "result.json"
    if finished.is_file():
        return Result(workdir / FILE_NAME, **json.loads(finished.read_text()))
    with processes.together():
        parent = load_parent(config)

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
        alarm = CollapseAlarm(**config.alarm)
        alarm.replay(workdir / "metrics.jsonl", first)
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
                state = run_steps(
                    config, plan, built, mesh, state, stream, dataset, checkpoints,
                    writer, bar, stop, evaluations or {}, alarm, announce,
                )  # fmt: skip
        finally:
            stream.close()
            writer.close()

    # --- The artefact, last: a folder with result.json is complete ------------------------------
    card = make_card(config, dataset, parent, int(state.step))
    params = jax.device_get(state.params if state.ema_params is None else state.ema_params)
    outcome = {"steps": int(state.step), "seconds": round(time.monotonic() - started, 2)}
    with processes.together():
        try:
            if processes.is_first():
                save_artifact(workdir / FILE_NAME, params, card)
                write_json(finished, outcome)
        except OSError as error:
            raise write_failure(workdir / FILE_NAME, error) from error
    return Result(workdir / FILE_NAME, **outcome)


def run_steps(
    config: ConfigDict,
    plan: Plan,
    built: Built,
    mesh: Mesh,
    state: TrainState,
    stream: TrainStream,
    dataset: Dataset,
    checkpoints: Checkpoints,
    writer: MetricWriter,
    bar: StepProgress,
    stop: "StopSignal",
    evaluations: Mapping[str, Evaluation],
    alarm: CollapseAlarm,
    announce: Callable[[str], None],
) -> TrainState:
    """Makes the remaining steps. Each: batch, step, metrics of the step before, checkpoint."""
    root_key = sharding.put_replicated_key(jax.random.key(config.seed), mesh)
    rate = sharding.put_replicated(np.float32(peak_rate(config)), mesh)
    step = int(state.step)
    pending = None  # The step whose metrics have not been read yet.
    clock = time.monotonic()

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
        clock = time.monotonic()

    if step == 0:
        measure([name for name, evaluation in evaluations.items() if evaluation.at_start])
    while step < plan.total_steps:
        batch = next(stream)
        rows = batch["index"]
        state, metrics = built.step(state, sharding.put_batch(batch, mesh), root_key, rate)
        step += 1
        # While the device works on this step, the host reads the one before.
        read_pending()
        pending = (step, metrics, rows)

        last = step == plan.total_steps
        due = [
            name
            for name, evaluation in evaluations.items()
            if last or step % (evaluation.every_steps or plan.validation_steps) == 0
        ]
        if due:
            read_pending()
            measure(due)
        stopping = stop.agreed(step)
        if last or stopping or (step % (plan.checkpoint_steps or plan.total_steps) == 0):
            read_pending()
            checkpoints.save(state, stream.state())
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
    return len(dataset)


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
        "workers": config.data.workers if dataset.decodes else 0,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
    if data_state is None:
        return TrainStream(dataset.source, **settings)
    return TrainStream.from_state(dataset.source, state=data_state, **settings)


def initial_state(
    config: ConfigDict, dataset: Dataset, built: Built, mesh: Mesh, parent: Artifact | None
) -> TrainState:
    """State before the first step: random, with the parent's encoder where there is one."""
    params = built.objective.init_params(config.seed, dataset.source.image_shape)
    if parent is not None:
        params = replace_parts(
            params, parent, tuple(config.init_parts), tuple(config.dont_load)
        )
    model_state = built.objective.init_state(config.seed, params)
    params, model_state = sharding.put_replicated((params, model_state), mesh)
    state = create_state(params, model_state, built.optimizer, ema=bool(config.ema_decay))
    # The counters too: what is not on the mesh has another type than what the first step returns,
    # and the step would be compiled twice.
    return sharding.put_replicated(state, mesh)


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


def is_new(workdir: Path) -> bool:
    """Whether no process has begun this run before."""
    return not (workdir / "metrics.jsonl").is_file()


# What a run may go on with changed: nothing that its weights depend on.
_FREE_KEYS = (
    "alarm.action", "alarm.ratio", "alarm.patience", "checkpoints_to_keep", "data.workers"
)  # fmt: skip


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks that a run's folder is new or of the same config.

    Raises:
        UserError: It was made by another config, or holds other things.
    """
    path = workdir / "config.json"
    if path.is_file():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path} cannot be read ({error}).", "Restore it, or choose another --workdir."
            ) from error
        keys = [key for key in differing_keys(earlier, to_json(config)) if key not in _FREE_KEYS]
        if keys:
            raise UserError(
                f"{workdir} belongs to a run with another config: {', '.join(keys[:5])} "
                f"differ{'s' if len(keys) == 1 else ''}.",
                "Choose another --workdir, or restore the config.",
            )
        return
    if workdir.is_dir() and any(workdir.iterdir()):
        raise UserError(
            f"{workdir} is not empty and holds no run.", "Choose an empty or new --workdir."
        )


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Creates a run's folder with its config, or goes on with the one that is there.

    Raises:
        UserError: As `check_workdir`, or it is a file.
        RunFailed: It cannot be created.
    """
    check_workdir(workdir, config)
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, to_json(config))
    except FileExistsError as error:
        raise UserError(f"{workdir} is a file.", "Choose another --workdir.") from error
    except OSError as error:
        raise write_failure(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is complete or absent."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write_parameter_table(path: Path, state: TrainState) -> None:
    """Name, shape, size, mean and deviation of every parameter that the run starts with."""
    if path.is_file():
        return
    table = parameter_overview.get_parameter_overview(state.params)
    try:
        path.write_text(table + "\n", encoding="utf-8")
    except OSError as error:
        raise write_failure(path, error) from error


# ours: seconds and steps between the moments when several processes ask each other whether to
# stop; schedulers leave half a minute or so between SIGTERM and SIGKILL.
_ASK_SECONDS = 2.0
_ASK_STEPS = 20


class StopSignal:
    """Notes SIGTERM and SIGINT instead of dying of them; a second one acts as usual."""

    def __init__(self):
        self.received = ""
        self._next_ask = 0
        self._asked = (0, time.monotonic())
        self._previous: dict[int, Any] = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:
                # Only the main thread may set handlers; in another, its owner decides.
                return self
        return self

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agreed(self, step: int) -> bool:
        """Whether to stop after this step: all processes at the same one.

        Several processes ask each other every few steps only, since asking waits for the slowest.
        How many, they agree on as well, by the slowest one's clock.
        """
        if step < self._next_ask:
            return False
        now = time.monotonic()
        seconds = (now - self._asked[1]) / max(step - self._asked[0], 1)
        stop, slowest = processes.largest((float(bool(self.received)), seconds))
        self._asked = step, now
        if jax.process_count() > 1:
            self._next_ask = step + int(np.clip(_ASK_SECONDS / max(slowest, 1e-9), 1, _ASK_STEPS))
        return bool(stop)

    def _note(self, number, frame):
        self.received = signal.Signals(number).name
        signal.signal(number, self._previous[number])


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
