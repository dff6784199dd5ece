"""The admin REST as the command speaks it."""
