"""What `vedette top` and `vedette tail` look at while it happens."""
