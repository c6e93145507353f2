"""State, step, loop, optimisers, schedules, sharding, random streams, checkpoints, metrics."""
