"""`python -m moda_keras`: the `moda` command."""

from moda_keras.cli import main

main()
