"""The data set tcga_crc_features in the layout of TFDS."""
