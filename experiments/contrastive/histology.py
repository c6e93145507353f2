"""Unlabelled patches of stained tissue (T4, T5): self-supervision, the second stage of the chain.

Command:   remedis train --config experiments/contrastive/histology.py:model=r50x1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/histology
Hardware:  that of the method, see experiments/contrastive/METHOD.py; on a laptop
           model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale on this modality.
Expected:  not reproduced at scale here; no per-task number of the paper is verified.

The manifest needs `image` (or `data.tiles`, see docs/data.md) and `patient_id` (group=NAME for
another, group=none); `slide_id` for method=micle. held_out=labelled.csv refuses patients of its
splits val and test.
"""

from experiments.contrastive._modality import modality_config


def get_config(arg=None):
    # Views of SimCLR at strength 1.0, 224 pixels (official-code); rotation by any angle (named in
    # the README of the official code, absent from its pipeline; the angle is ours, since a section
    # has no upright). Pairs of MICLe across the patches of a slide: ours.
    return modality_config("t4", arg, case="slide_id")
