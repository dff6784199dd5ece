"""Decisions of the notifier, without I/O."""
