"""The data set messidor2 in the layout of TFDS."""
