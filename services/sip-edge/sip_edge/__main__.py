"""`python -m sip_edge`."""

from sip_edge.main import main

main()
