"""What touches the world: Postgres, Redis, RPC."""
