"""The data set rsna_mammography in the layout of TFDS."""
