"""TFDS builders of public data sets that stand in for the private ones of the tasks.

Each folder here is a data set in TFDS's own layout. Import the builder of one, or use
`remedis_jax.data.tfds_sets.prepare`, which needs no TensorFlow. Which data set plays which part in
which task, and those that TFDS itself has, is in `remedis_jax.data.tfds_sets.stand_ins`.

Nothing is imported here: TFDS takes its time.
"""
