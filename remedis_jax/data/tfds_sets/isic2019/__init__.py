"""The data set isic2019 in the layout of TFDS."""
