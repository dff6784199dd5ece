"""`python -m vedette_cli`."""

from vedette_cli.main import main

main()
