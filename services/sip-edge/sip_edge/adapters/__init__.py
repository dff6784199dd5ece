"""What touches the world: RPC in and out, name lookups."""
