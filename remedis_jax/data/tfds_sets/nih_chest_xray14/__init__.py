"""The data set nih_chest_xray14 in the layout of TFDS."""
