"""The two hash tables, read entry by entry for a person."""
