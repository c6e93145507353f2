"""Unlabelled chest X-rays (T3): self-supervision, the second stage of the chain.

Command:   remedis train --config experiments/contrastive/chest_xray.py:model=r50x1 \
               --set data.manifest=unlabelled.csv --set init=runs/natural --workdir runs/chest_xray
Hardware:  that of the method, see experiments/contrastive/METHOD.py; on a laptop
           model=r14x0.25,stem=cifar_stride2,size=32, a smaller batch and total_epochs.
Time:      not measured at scale on this modality.
Expected:  not reproduced at scale here; no per-task number of the paper is verified.

The manifest needs `image` and `patient_id` (group=NAME for another, group=none), which is the case
of method=micle too. held_out=labelled.csv refuses patients of its splits val and test.
"""

from experiments.contrastive._modality import modality_config


def get_config(arg=None):
    # The recipe "radiology", whatever the method: grey, equalised with p 0.5 and deformed
    # elastically (official-code), rotation up to 45 degrees and strength 0.5 (micle), blur
    # (official-code; micle has none), 224 pixels (micle, from memory; the released weights are
    # documented for 448). Pairs of MICLe across the images of a patient: micle, from memory.
    return modality_config("t3", arg, case="patient_id")
