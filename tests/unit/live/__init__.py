"""Tests of what `vedette top` and `vedette tail` look at."""
