"""Fixtures for all tests."""

from tests.phone import make_phone, tcp_phone, udp_phone
from tests.running_set import running_set, strict_set
from tests.servers import database_url, servers

__all__ = ["database_url", "make_phone", "running_set", "servers", "strict_set", "tcp_phone", "udp_phone"]
