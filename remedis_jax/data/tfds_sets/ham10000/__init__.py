"""The data set ham10000 in the layout of TFDS."""
