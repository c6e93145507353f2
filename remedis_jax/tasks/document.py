"""docs/tasks.md from the specifications: `python -m remedis_jax.tasks.document > docs/tasks.md`."""

from collections.abc import Iterable

from remedis_jax.tasks.specification import CLINICAL, TASKS
from remedis_jax.tasks.task import PublicSet, Task

# How the configs' arguments leave a column out.
NO_COLUMN = "none"

_HEAD = """# The six tasks

Made from `remedis_jax/tasks/` by `python -m remedis_jax.tasks.document`; change it there. What is
known of the paper carries a mark: *verified* in a source that was read, *from memory*, or *not
known*. No number here is the paper's result. How fine-tuning works: [finetuning.md](finetuning.md);
how the public data sets are built: [data_sets.md](data_sets.md).

The three stages of a task, here of {first}:

```sh
remedis train --config experiments/bit/natural.py:model=r50x1 \\
    --set data.manifest=natural/manifest.csv --workdir runs/natural
remedis train --config experiments/contrastive/{modality}.py:model=r50x1,init=runs/natural \\
    --set data.manifest=unlabelled.csv --workdir runs/{modality}
remedis train --config experiments/finetune/{first}.py:model=r50x1,init=runs/{modality} \\
    --set data.manifest=labelled.csv --workdir runs/{first}
remedis evaluate labelled.csv --weights runs/{first} --where split=test --out runs/{first}/test
```

The public data of each task are below. What is not split yet gets its column `split` from
`remedis split`. With the argument `tiny` each of them is a matter of seconds, on the invented data
that `remedis_jax.data.phantom.tasks.write_task_phantom("{first}", "data")` writes.
"""


def tasks_markdown() -> str:
    """All of docs/tasks.md, one section a task."""
    first = CLINICAL[0]
    head = _HEAD.format(first=first, modality=TASKS[first].modality)
    rows = [
        [f"[{name.upper()}](#{_anchor(name, task)})", _cell(task.question), task.metric]
        for name, task in _clinical()
    ]
    sections = [_section(name, task) for name, task in _clinical()]
    table = _table(("task", "question", "scored by"), rows)
    return "\n".join([head, table, "", *sections]).rstrip("\n") + "\n"


def _clinical() -> list[tuple[str, Task]]:
    return [(name, TASKS[name]) for name in CLINICAL]


def _title(name: str, task: Task) -> str:
    return f"{name.upper()} {task.title}"


def _anchor(name: str, task: Task) -> str:
    return _title(name, task).lower().replace(" ", "-")


def _section(name: str, task: Task) -> str:
    facts = [
        ("question", task.question),
        ("modality", task.modality.replace("_", " ")),
        ("pre-training", f"`experiments/contrastive/{task.modality}.py`"),
        ("fine-tuning", f"`experiments/finetune/{name}.py`"),
        ("objective", _code([task.kind, *task.other_kinds], " or ")),
        ("label column(s)", _code(task.labels)),
        ("readers", _code(task.readers)),
        ("classes", _code(task.classes) or "those of the training rows"),
        ("label policy", ", ".join(f"`{k}={v}`" for k, v in task.label_policy.items())),
        ("never split", _code([task.group])),
        ("an example", _example(task)),
        ("judged at", f"{task.horizon:g}; intervals end at {_numbers(task.intervals)}"
         if task.intervals else ""),
        ("metrics", _code(task.metrics)),
        ("scored by", ", then ".join(f"`{column}` ({how})" for column, how in task.levels)),
        ("resolution", f"{task.pretrain_size} pixels in pre-training, {task.finetune_size} in "
         "fine-tuning"),
        ("channels", str(task.channels)),
        ("augmentation", f"`{task.recipe}`{_options(task.pretrain_options)} in pre-training, "
         f"`finetune`{_options(task.finetune_options)} in fine-tuning"),
    ]  # fmt: skip
    lines = [f"## {_title(name, task)}", ""]
    lines += [_table(("", ""), [[key, value] for key, value in facts if value]), ""]
    lines += ["**Known of the paper**", ""]
    lines += [f"- {_cell(text)} *({mark})*" for text, mark in task.known_of_paper]
    lines += ["", "**Ours**", "", *(f"- {text}" for text in task.ours), ""]
    parts = (
        ("Unlabelled pool", task.unlabelled_pool),
        ("In distribution", task.in_distribution),
        ("Out of distribution", task.out_of_distribution),
    )
    rows = [[part, *_public(found)] for part, sets in parts for found in sets]
    lines += ["**Public data in its place**", ""]
    if task.case:
        lines += [
            "With `case=NAME` for the column of the case, or `case=none` where there is none.",
            "",
        ]
    header = ("for", "data set", "access", "arguments of the config", "note")
    return "\n".join([*lines, _table(header, rows), ""])


def _example(task: Task) -> str:
    if not task.case:
        return "an image"
    text = f"a case (`{task.case}`) of up to {task.case_images} images, {task.pooling} of features"
    return text + (f"; places for {_code(task.views)} of `{task.view}`" if task.views else "")


def _public(found: PublicSet) -> list[str]:
    access = f"{found.access}; {found.licence}" if found.licence else found.access
    if not found.reader:
        return [found.name, access, "", found.note]
    settings = {"manifest": found.reader, "group": NO_COLUMN, **found.settings}
    arguments = {
        name: settings[name] for name in ("manifest", "labels", "group") if name in settings
    }
    if "labels" in arguments:
        arguments["labels"] = "+".join(arguments["labels"])
    text = f"`{','.join(f'{name}={value}' for name, value in arguments.items())}`"
    others = [f"`--set data.{name}={v}`" for name, v in settings.items() if name not in arguments]
    rows = [f"rows with `{column}` {' or '.join(v)}" for column, v in found.rows.items()]
    return [found.name, access, "; ".join([text, *others, *rows]), found.note]


def _options(options) -> str:
    shown = ", ".join(f"{name}={value:g}" for name, value in options.items())
    return f" with {shown}" if shown else ""


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _code(names: Iterable[str], separator: str = ", ") -> str:
    return separator.join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


if __name__ == "__main__":
    print(tasks_markdown(), end="")
