"""The data set mimic_cxr_jpg in the layout of TFDS."""
