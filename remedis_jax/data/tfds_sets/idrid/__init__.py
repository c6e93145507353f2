"""The data set idrid in the layout of TFDS."""
