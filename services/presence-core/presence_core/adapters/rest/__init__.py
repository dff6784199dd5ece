"""The admin REST: one module for each resource; `app` puts them together."""
