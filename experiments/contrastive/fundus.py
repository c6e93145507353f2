"""Unlabelled fundus photographs (T2): self-supervision, the second stage of the chain.

Command:   remedis train --config experiments/contrastive/fundus.py:model=r50x1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/fundus
Hardware:  that of the method, see experiments/contrastive/METHOD.py; on a laptop
           model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale on this modality.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image` and `patient_id` (group=NAME for another, group=none), which is the case
of method=micle too. held_out=labelled.csv refuses patients of its splits val and test.
"""

from experiments.contrastive._modality import modality_config


def get_config(arg=None):
    # Views of SimCLR at strength 1.0, 224 pixels (official-code); rotation up to 45 degrees (named
    # in the README of the official code, absent from its pipeline; the angle is micle's for chest
    # X-rays). Pairs of MICLe across both eyes of a patient: ours.
    return modality_config("t2", arg, case="patient_id")
