"""The data set camelyon17_wilds in the layout of TFDS."""
