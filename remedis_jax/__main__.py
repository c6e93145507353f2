"""`python -m remedis_jax` is the `remedis` command."""

from remedis_jax.cli.main import main

if __name__ == "__main__":
    main()
