"""What is minimised: pure losses of (params, batch, key), exact on any number of devices."""
