"""What `vedette doctor` looks at. Each check is a function that returns findings."""
