"""Calls between the services: batches of msgspec Structs in msgpack over HTTP/1.1."""
