"""A service as a process: settings, logs, signals, readiness."""
