"""Hostile input, from seeds and from what others found: readers in this process, and a running set."""
