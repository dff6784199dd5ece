"""The command `vedette`: runs the whole set on one machine, publishes, watches."""
