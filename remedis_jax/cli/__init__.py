"""One file per sub-command of `remedis`."""
