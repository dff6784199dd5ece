"""Event packages, one file each, registered in one table. Pure."""
