"""Unlabelled photographs of skin (T1): self-supervision, the second stage of the chain.

Command:   remedis train --config experiments/contrastive/dermatology.py:model=r50x1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural \
               --workdir runs/dermatology
           then, for MICLe, the same with method=micle and init=runs/dermatology
Hardware:  that of the method, see experiments/contrastive/METHOD.py; on a laptop
           model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale on this modality.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image` and `patient_id` (group=NAME for another, group=none); `case_id` for
method=micle. held_out=labelled.csv refuses patients of its splits val and test.
"""

from experiments.contrastive._modality import modality_config


def get_config(arg=None):
    # Views of SimCLR at strength 1.0, 224 pixels (official-code; micle on dermatology alike).
    return modality_config("t1", arg, case="case_id")
