"""The parts of the table of reproductions; the table itself is `experiments.reproductions`."""
