"""Decisions of the edge, without I/O."""
