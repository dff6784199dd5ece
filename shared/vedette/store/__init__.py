"""Postgres, which is the truth, and Redis, which is the cache and the bell."""
