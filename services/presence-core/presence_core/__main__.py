"""`python -m presence_core`."""

from presence_core.main import main

main()
