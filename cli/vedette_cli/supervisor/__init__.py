"""Runs the whole set on one machine: embedded servers, services, restarts, scaling, an orderly end."""
