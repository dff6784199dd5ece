"""Decisions, without I/O: plan a request before the database call, conclude its answer after it."""
