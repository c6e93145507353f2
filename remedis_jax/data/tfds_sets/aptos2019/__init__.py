"""The data set aptos2019 in the layout of TFDS."""
