"""Unlabelled mammograms (T6): self-supervision, the second stage of the chain.

Command:   remedis train --config experiments/contrastive/mammography.py:model=r50x1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/mammography
Hardware:  that of the method, see experiments/contrastive/METHOD.py; on a laptop
           model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale on this modality.
Expected:  not reproduced at scale here; the paper's data are not public.

The manifest needs `image` and `patient_id` (group=NAME for another, group=none); `breast_id` for
method=micle. held_out=labelled.csv refuses patients of its splits val and test.
"""

from experiments.contrastive._modality import modality_config


def get_config(arg=None):
    # The recipe "radiology", whatever the method (see chest_xray.py), 224 pixels of a film that is
    # padded to a square (both ours). Pairs of MICLe across the views of a breast: ours.
    return modality_config("t6", arg, case="breast_id")
