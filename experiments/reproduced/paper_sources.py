"""What data and weights the paper used, as far as that is known, and how one comes by them.

The marks are those of `remedis_jax.tasks`: read in a primary source (the released code's README,
the abstract, the data availability statement), from memory, or not known.
"""

from experiments.reproduced.cell import Source
from remedis_jax.tasks.task import FROM_MEMORY, VERIFIED

PUBLIC = "open download"
TCGA = Source("TCGA slides, 50 million patches", "public", "GDC portal, open access", VERIFIED)

LABELLED: dict[str, tuple[Source, ...]] = {
    "t1": (
        Source("teledermatology cases, USA", "private", "not given out", VERIFIED),
        Source("skin cancer clinics, Australia and New Zealand", "private", "not given out",
               FROM_MEMORY),
    ),
    "t2": (
        Source("fundus photographs with OCT, Thailand", "private", "not given out", FROM_MEMORY),
        Source("fundus photographs with OCT, Australia or USA", "private",
               "not given out; those of the VA on application", FROM_MEMORY),
    ),
    "t3": (
        Source("CheXpert", "registration", "Stanford AIMI, research use agreement", FROM_MEMORY),
        Source("NIH ChestX-ray14", "public", PUBLIC, FROM_MEMORY),
    ),
    "t4": (
        Source("CAMELYON16", "public", PUBLIC, FROM_MEMORY),
        Source("CAMELYON17", "public", PUBLIC, FROM_MEMORY),
    ),
    "t5": (
        Source("colorectal slides with survival, Graz", "private", "not given out", FROM_MEMORY),
        Source("later colorectal slides with survival, Graz", "private", "not given out",
               FROM_MEMORY),
    ),
    "t6": (
        Source("OPTIMAM", "credentialed", "application to its owners", VERIFIED),
        Source("Northwestern Medicine mammograms", "private", "under licence only", VERIFIED),
    ),
}  # fmt: skip
UNLABELLED: dict[str, tuple[Source, ...]] = {
    "t1": (Source("unlabelled dermatology images", "private", "not given out", FROM_MEMORY),),
    "t2": (Source("de-identified EyePACS images", "private", "agreement with EyePACS", VERIFIED),),
    "t3": (
        Source("CheXpert, unlabelled", "registration", "Stanford AIMI, research use agreement",
               VERIFIED),
        Source("MIMIC-CXR-JPG", "credentialed", "PhysioNet: training and data use agreement",
               VERIFIED),
    ),
    "t4": (TCGA,),
    "t5": (TCGA,),
    "t6": (Source("unlabelled mammograms of OPTIMAM and others", "credentialed",
                  "application to their owners", FROM_MEMORY),),
}  # fmt: skip
WEIGHTS = {
    "standard": Source("BiT weights of ImageNet-1k (here BiT-S)", "public",
                       "remedis models get bit-s-{model}", FROM_MEMORY),
    "strong": Source("BiT-L (JFT-300M)", "never released",
                     "nobody else has it; here BiT-M: remedis models get bit-m-{model}",
                     VERIFIED),
}  # fmt: skip
