"""Parameters: every one is read from the environment, and a bad value is told by name with what is allowed."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from notifier.settings import NotifierSettings
from presence_core.settings import CoreSettings
from sip_edge.settings import EdgeSettings
from vedette.runtime.settings import ServiceSettings, StoreSettings, describe, load_settings

SERVICES: tuple[type[ServiceSettings], ...] = (EdgeSettings, CoreSettings, NotifierSettings)

FREE_TEXT = {
    "rpc_token_file", "db_password_file", "tls_certificate", "tls_key", "tls_client_ca", "tls_ca", "ws_origins",
}  # fmt: skip
"""Parameters that take any text; whether the file is there shows where it is read."""

AT_LEAST, AT_MOST = "greater than or equal to {}", "less than or equal to {}"


def whole_number(kind: type[ServiceSettings], name: str, lowest: int, highest: int) -> list[tuple[object, ...]]:
    """Bad values of a number with two ends: below, above, no number, a fraction, nothing."""
    return [
        (kind, name, str(lowest - 1), AT_LEAST.format(lowest)),
        (kind, name, str(highest + 1), AT_MOST.format(highest)),
        (kind, name, "soon", "valid integer"),
        (kind, name, "1.5", "valid integer"),
        (kind, name, "", "valid integer"),
    ]


def address(kind: type[ServiceSettings], name: str) -> list[tuple[object, ...]]:
    """Bad values of a host:port."""
    return [
        (kind, name, "sip.example.com", "is no host:port"),
        (kind, name, ":5060", "is no host:port"),
        (kind, name, "sip.example.com:", "no port from 1 to 65535"),
        (kind, name, "sip.example.com:0", "no port from 1 to 65535"),
        (kind, name, "sip.example.com:65536", "no port from 1 to 65535"),
        (kind, name, "sip:sip.example.com:5060", "no name of a host"),
        (kind, name, "2001:db8::1:5060", "no name of a host"),
        (kind, name, "[192.0.2.1]:5060", "no name of a host"),
        (kind, name, "192.0.2.300:5060", "no name of a host"),
        (kind, name, "-a.example:5060", "no name of a host"),
        (kind, name, "0.0.0.0:5060", "stands for all addresses"),
        (kind, name, "[::]:5060", "stands for all addresses"),
    ]


def optional_port(name: str) -> list[tuple[object, ...]]:
    """Bad values of a port that may be left out."""
    return [row for row in whole_number(EdgeSettings, name, *PORT) if row[2]]


SECONDS = (0, 2**31 - 1)
PORT = (0, 65535)
BAD: list[tuple[object, ...]] = [
    (StoreSettings, "rpc_host", "localhost", "an IP address"),
    (StoreSettings, "rpc_host", "", "an IP address"),
    (CoreSettings, "api_host", "0.0.0", "an IP address"),
    (CoreSettings, "api_published", "localhost", "an IP address"),
    (CoreSettings, "api_auth", "basic", "'', 'none' or 'token'"),
    *whole_number(CoreSettings, "api_max_body_size", 1024, 16 * 2**20),
    *whole_number(CoreSettings, "api_audit_days", 0, 36500),
    *whole_number(CoreSettings, "api_live_readers", 0, 10_000),
    *whole_number(CoreSettings, "api_live_queue", 10, 1_000_000),
    *whole_number(CoreSettings, "api_live_buffer", 0, 1_000_000),
    *whole_number(CoreSettings, "api_webhook_attempts", 1, 100),
    *whole_number(CoreSettings, "api_webhook_timeout", 1, 60),
    *whole_number(CoreSettings, "api_webhook_pause", 1, 3600),
    (CoreSettings, "api_webhook_private_targets", "yes", "0 or 1"),
    *whole_number(CoreSettings, "api_webhook_max_waiting", 10, 1_000_000),
    (StoreSettings, "log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
    (StoreSettings, "log_level", "INFO", "'debug', 'info', 'warning' or 'error'"),
    (StoreSettings, "log_format", "xml", "'auto', 'json' or 'text'"),
    (StoreSettings, "ready_fd", "out", "valid integer"),
    (StoreSettings, "fallback2db", "2", "0 or 1"),
    (StoreSettings, "fallback2db", "yes", "0 or 1"),
    *whole_number(StoreSettings, "rpc_port", *PORT),
    *whole_number(StoreSettings, "trace_buffer", 0, 1_000_000_000),
    (StoreSettings, "metrics_host", "everywhere", "an IP address"),
    *[row for row in whole_number(StoreSettings, "metrics_port", *PORT) if row[2]],
    *whole_number(StoreSettings, "db_connections", 1, 64),
    *whole_number(StoreSettings, "pres_htable_size", 1, 16),
    *whole_number(StoreSettings, "subs_htable_size", 1, 16),
    *whole_number(StoreSettings, "clean_period", 1, 86400),
    *whole_number(StoreSettings, "waiting_subs_daysno", 0, 30),
    *whole_number(StoreSettings, "db_update_period", 0, 86400),
    (StoreSettings, "db_url", "mysql://u@db/v", "postgresql:// or postgres://"),
    (StoreSettings, "db_url", "db.example", "postgresql:// or postgres://"),
    (StoreSettings, "db_url", "postgresql://u@db:54321x/v", "'54321x' is none from 1 to 65535"),
    (StoreSettings, "db_url", "postgresql://u@db:1,[::1]:0/v", "'0' is none from 1 to 65535"),
    (StoreSettings, "redis_url", "http://cache", "redis:// or rediss:// or unix://"),
    (StoreSettings, "redis_url", "redis://cache:70000/0", "'70000' is none from 1 to 65535"),
    *address(StoreSettings, "rpc_address"),
    *address(EdgeSettings, "server_address"),
    *address(EdgeSettings, "core_peers"),
    *address(EdgeSettings, "notifier_peers"),
    *address(EdgeSettings, "edge_peers"),
    (EdgeSettings, "core_peers", "", "names nobody"),
    (EdgeSettings, "notifier_peers", "", "names nobody"),
    (EdgeSettings, "edge_peers", "@run/peers", "whole path of the file"),
    (EdgeSettings, "core_peers", "core:8070,", "'' is no host:port"),
    (EdgeSettings, "core_peers", "core:8070 core:8071", "no name of a host"),
    *address(CoreSettings, "core_peers"),
    *address(NotifierSettings, "edge_peers"),
    (NotifierSettings, "edge_peers", "", "names nobody"),
    (StoreSettings, "redis_url", "redis://", "redis:// or rediss:// or unix://"),
    (StoreSettings, "presentity_table", "", "63 lower-case letters"),
    (StoreSettings, "presentity_table", 'x"; DROP TABLE presentity; --', "63 lower-case letters"),
    (StoreSettings, "presentity_table", "delivery", "another table of Vedette"),
    (StoreSettings, "active_watchers_table", "a" * 64, "63 lower-case letters"),
    (StoreSettings, "active_watchers_table", "presentity", "another table of Vedette"),
    (StoreSettings, "watchers_table", "1st", "63 lower-case letters"),
    (StoreSettings, "watchers_table", "öffentlich", "63 lower-case letters"),
    (StoreSettings, "enable_sphere_check", "2", "0 or 1"),
    (StoreSettings, "force_active", "2", "0 or 1"),
    (StoreSettings, "default_rule", "deny", "'allow', 'polite-block', 'confirm' or 'block'"),
    (StoreSettings, "dialog_rule", "polite-block", "'same-domain', 'allow', 'confirm' or 'block'"),
    (StoreSettings, "mix_dialog_presence", "yes", "0 or 1"),
    (CoreSettings, "role", "both", "'core' or 'api'"),
    (CoreSettings, "domains", "a.example,,b.example", "list of domain names separated by commas"),
    (CoreSettings, "domains", ",", "list of domain names separated by commas"),
    (CoreSettings, "domains", "a.example b.example", "list of domain names separated by commas"),
    *whole_number(CoreSettings, "min_expires", *SECONDS),
    *whole_number(CoreSettings, "max_expires", 1, SECONDS[1]),
    *whole_number(CoreSettings, "max_expires_publish", *SECONDS),
    *whole_number(CoreSettings, "max_expires_early", *SECONDS),
    *whole_number(CoreSettings, "max_expires_subscribe", *SECONDS),
    (CoreSettings, "min_expires_action", "0", "1 or 2"),
    (CoreSettings, "min_expires_action", "3", "1 or 2"),
    (CoreSettings, "min_expires_action", "raise", "1 or 2"),
    *whole_number(CoreSettings, "cseq_offset", 0, 1_000_000),
    (StoreSettings, "sip_uri_match", "2", "0 or 1"),
    (StoreSettings, "sip_uri_match", "-1", "0 or 1"),
    *whole_number(CoreSettings, "max_publications", *SECONDS),
    *whole_number(CoreSettings, "max_watchers", *SECONDS),
    *whole_number(CoreSettings, "max_subscriptions", *SECONDS),
    *whole_number(CoreSettings, "min_expires_register", *SECONDS),
    *whole_number(CoreSettings, "max_expires_register", 1, SECONDS[1]),
    *whole_number(CoreSettings, "default_expires_register", 1, SECONDS[1]),
    *whole_number(CoreSettings, "max_contacts", 0, 1000),
    (EdgeSettings, "registrar", "perhaps", "boolean"),
    *whole_number(StoreSettings, "expires_offset", 0, 3600),
    (EdgeSettings, "sender_header", "Sen der", "pattern"),
    (CoreSettings, "to_tag_pref", "a b", "pattern"),
    (CoreSettings, "to_tag_pref", "a;b", "pattern"),
    (CoreSettings, "to_tag_pref", "a" * 33, "{0,32}"),
    (CoreSettings, "contact_user", "", "{1,64}"),
    (CoreSettings, "contact_user", "a@b", "pattern"),
    (CoreSettings, "contact_user", "a b", "pattern"),
    (CoreSettings, "contact_user", "a" * 65, "{1,64}"),
    (CoreSettings, "subs_respond_200", "202", "0 or 1"),
    *whole_number(CoreSettings, "db_batch", 1, 1000),
    *whole_number(CoreSettings, "db_calls", 1, 16),
    *whole_number(CoreSettings, "queue_size", 1, 1_000_000),
    *whole_number(CoreSettings, "api_port", *PORT),
    *whole_number(NotifierSettings, "notify_patience", 1, 600),
    *whole_number(NotifierSettings, "census_period", 1, 3600),
    *whole_number(NotifierSettings, "remember_dialogs", 0, 10_000_000),
    *whole_number(NotifierSettings, "remember_documents", 0, 1_000_000),
    (NotifierSettings, "suppress_unchanged", "2", "0 or 1"),
    (NotifierSettings, "end_sub_on_timeout", "no", "0 or 1"),
    (NotifierSettings, "notify_offline_body", "", "0 or 1"),
    (NotifierSettings, "force_single_dialog", "2", "0 or 1"),
    *whole_number(EdgeSettings, "sip_port", *PORT),
    *address(EdgeSettings, "dns_servers"),
    (EdgeSettings, "dns_servers", "ns.example.com:53", "is no IP address"),
    *address(EdgeSettings, "tls_server_address"),
    *address(EdgeSettings, "ws_server_address"),
    *address(EdgeSettings, "wss_server_address"),
    *optional_port("tls_port"),
    *optional_port("ws_port"),
    *optional_port("wss_port"),
    *whole_number(EdgeSettings, "max_connections_per_source", 1, 1_000_000),
    *whole_number(EdgeSettings, "handshake_timeout", 1, 86_400),
    *whole_number(EdgeSettings, "message_timeout", 1, 86_400),
    *whole_number(EdgeSettings, "idle_timeout", 1, 86_400),
    (EdgeSettings, "tls_client_certificate", "none", "'required' or 'optional'"),
    (EdgeSettings, "tls_check_servers", "perhaps", "valid boolean"),
    (EdgeSettings, "sip_host", "127.0.0.1,127.0.0.2", "two addresses of one IP version"),
    (EdgeSettings, "sip_host", "127.0.0.1,", "IP address"),
    *whole_number(EdgeSettings, "t1", 1, 60_000),
    *whole_number(EdgeSettings, "t2", 1, 60_000),
    *whole_number(EdgeSettings, "t4", 1, 60_000),
    *whole_number(EdgeSettings, "max_body_size", 1024, 16 * 1024 * 1024),
    *whole_number(EdgeSettings, "max_connections", 1, 1_000_000),
    *whole_number(EdgeSettings, "max_ongoing", 1, 1_000_000),
    *whole_number(EdgeSettings, "max_notifies", 1, 1_000_000),
    *whole_number(EdgeSettings, "max_udp_size", 0, 65535),
    (EdgeSettings, "nat_handling", "yes", "'auto', 'always' or 'off'"),
    *whole_number(EdgeSettings, "call_batch", 1, 4096),
    (EdgeSettings, "reuse_port", "perhaps", "valid boolean"),
    (EdgeSettings, "sip_published", "localhost", "an IP address, or empty"),
    (EdgeSettings, "auth", "basic", "'', 'none', 'digest' or 'trusted'"),
    (EdgeSettings, "trusted_peers", "proxy.example", "'proxy.example' is no address or network"),
    (EdgeSettings, "trusted_peers", "192.0.2.7/24", "'192.0.2.7/24' is no address or network"),
    (EdgeSettings, "trusted_peers", "192.0.2.7,", "'' is no address or network"),
    (EdgeSettings, "realm", "our users", "pattern"),
    (EdgeSettings, "realm", 'a"b', "pattern"),
    (EdgeSettings, "digest_algorithms", "", "'' is none of SHA-512-256, SHA-256, MD5"),
    (EdgeSettings, "digest_algorithms", "MD5,SHA-1", "'SHA-1' is none of"),
    *[row for row in whole_number(EdgeSettings, "max_requests_per_second", 0, 1_000_000) if row[2]],
    *whole_number(EdgeSettings, "max_requests_burst", 1, 1_000_000),
    *whole_number(EdgeSettings, "max_waiting_time", 0, 60_000),
    *[row for row in whole_number(EdgeSettings, "ban_threshold", 0, 1_000_000) if row[2]],
    *whole_number(EdgeSettings, "ban_time", 1, 86_400),
    *whole_number(EdgeSettings, "ban_time_max", 1, 2_592_000),
    *whole_number(EdgeSettings, "ban_time_udp", 0, 3600),
    *whole_number(EdgeSettings, "max_wrong_passwords", 0, 1_000_000),
    *whole_number(EdgeSettings, "nonce_lifetime", 1, 86_400),
    *whole_number(EdgeSettings, "users_max_age", 0, 3600),
    (EdgeSettings, "redis_url", "http://cache", "redis:// or rediss:// or unix://"),
    (EdgeSettings, "sip_host", "localhost", "IP address"),
    (EdgeSettings, "sip_host", "", "IP address"),
]

GOOD: list[tuple[type[ServiceSettings], str, str, object]] = [
    (StoreSettings, "rpc_host", "192.0.2.1", "192.0.2.1"),
    (StoreSettings, "rpc_address", "core:8070", "core:8070"),
    (StoreSettings, "rpc_token_file", "/run/token", Path("/run/token")),
    (StoreSettings, "db_url", "postgresql://p@db/v", "postgresql://p@db/v"),
    (StoreSettings, "redis_url", "unix:///run/redis.sock", "unix:///run/redis.sock"),
    (StoreSettings, "presentity_table", "kam_presentity", "kam_presentity"),
    (StoreSettings, "active_watchers_table", "kam_watchers", "kam_watchers"),
    (StoreSettings, "watchers_table", "_w", "_w"),
    (StoreSettings, "enable_sphere_check", "1", 1),
    (StoreSettings, "force_active", "1", 1),
    (StoreSettings, "default_rule", "polite-block", "polite-block"),
    (StoreSettings, "dialog_rule", "confirm", "confirm"),
    (StoreSettings, "mix_dialog_presence", "1", 1),
    (StoreSettings, "db_password_file", "/run/password", Path("/run/password")),
    (StoreSettings, "redis_url", "redis://cache:1/2", "redis://cache:1/2"),
    (StoreSettings, "log_level", "debug", "debug"),
    (StoreSettings, "log_format", "json", "json"),
    (StoreSettings, "ready_fd", "7", 7),
    (StoreSettings, "rpc_port", "65535", 65535),
    (StoreSettings, "metrics_host", "::1", "::1"),
    (StoreSettings, "trace_buffer", "0", 0),
    (StoreSettings, "metrics_port", "", None),
    (StoreSettings, "metrics_port", "9464", 9464),
    (StoreSettings, "db_connections", "64", 64),
    (StoreSettings, "fallback2db", "1", 1),
    (StoreSettings, "fallback2db", "0", 0),
    (StoreSettings, "db_update_period", "0", 0),
    (StoreSettings, "pres_htable_size", "16", 16),
    (StoreSettings, "subs_htable_size", "1", 1),
    (StoreSettings, "clean_period", "86400", 86400),
    (StoreSettings, "waiting_subs_daysno", "30", 30),
    (CoreSettings, "role", "api", "api"),
    (CoreSettings, "domains", "A.example, b.example", "A.example, b.example"),
    (CoreSettings, "min_expires", "2147483647", 2**31 - 1),
    (CoreSettings, "max_expires", "1", 1),
    (CoreSettings, "max_expires_publish", "0", 0),
    (CoreSettings, "max_expires_early", "0", 0),
    (CoreSettings, "max_expires_subscribe", "7200", 7200),
    (CoreSettings, "min_expires_action", "2", 2),
    (CoreSettings, "cseq_offset", "5", 5),
    (StoreSettings, "sip_uri_match", "1", 1),
    (CoreSettings, "max_publications", "0", 0),
    (CoreSettings, "max_watchers", "7", 7),
    (CoreSettings, "max_subscriptions", "7", 7),
    (CoreSettings, "min_expires_register", "0", 0),
    (CoreSettings, "max_expires_register", "1", 1),
    (CoreSettings, "default_expires_register", "600", 600),
    (CoreSettings, "max_contacts", "0", 0),
    (EdgeSettings, "registrar", "on", True),
    (EdgeSettings, "registrar", "off", False),
    (StoreSettings, "expires_offset", "20", 20),
    (EdgeSettings, "sender_header", "Sender", "Sender"),
    (CoreSettings, "to_tag_pref", "", ""),
    (CoreSettings, "contact_user", "a.b", "a.b"),
    (CoreSettings, "subs_respond_200", "1", 1),
    (CoreSettings, "db_batch", "1000", 1000),
    (CoreSettings, "db_calls", "16", 16),
    (CoreSettings, "queue_size", "1", 1),
    (CoreSettings, "api_host", "::1", "::1"),
    (CoreSettings, "api_port", "0", 0),
    (CoreSettings, "api_published", "192.0.2.1", "192.0.2.1"),
    (CoreSettings, "api_auth", "token", "token"),
    (CoreSettings, "api_max_body_size", "1024", 1024),
    (CoreSettings, "api_audit_days", "0", 0),
    (CoreSettings, "api_live_readers", "0", 0),
    (CoreSettings, "api_live_queue", "10", 10),
    (CoreSettings, "api_live_buffer", "0", 0),
    (CoreSettings, "api_webhook_timeout", "2", 2),
    (CoreSettings, "api_webhook_attempts", "1", 1),
    (CoreSettings, "api_webhook_pause", "1", 1),
    (CoreSettings, "api_webhook_max_waiting", "10", 10),
    (CoreSettings, "api_webhook_private_targets", "1", 1),
    (CoreSettings, "core_peers", "@/run/peers", "@/run/peers"),
    (NotifierSettings, "edge_peers", "edge:8072", "edge:8072"),
    (NotifierSettings, "notify_patience", "600", 600),
    (NotifierSettings, "census_period", "3600", 3600),
    (NotifierSettings, "remember_dialogs", "0", 0),
    (NotifierSettings, "remember_documents", "0", 0),
    (NotifierSettings, "suppress_unchanged", "0", 0),
    (NotifierSettings, "end_sub_on_timeout", "0", 0),
    (NotifierSettings, "notify_offline_body", "0", 0),
    (NotifierSettings, "force_single_dialog", "1", 1),
    (EdgeSettings, "sip_host", "::1", "::1"),
    (EdgeSettings, "sip_host", "127.0.0.53", "127.0.0.53"),
    (EdgeSettings, "sip_port", "0", 0),
    (EdgeSettings, "sip_host", "127.0.0.1, ::1", "127.0.0.1, ::1"),
    (EdgeSettings, "dns_servers", "127.0.0.1:53, [::1]:53", "127.0.0.1:53,[::1]:53"),
    (EdgeSettings, "tls_port", "", None),
    (EdgeSettings, "ws_port", "0", 0),
    (EdgeSettings, "wss_port", "", None),
    (EdgeSettings, "tls_server_address", "sip.example:5061", "sip.example:5061"),
    (EdgeSettings, "ws_server_address", "sip.example:80", "sip.example:80"),
    (EdgeSettings, "wss_server_address", "sip.example:443", "sip.example:443"),
    (EdgeSettings, "tls_certificate", "/etc/tls.pem", Path("/etc/tls.pem")),
    (EdgeSettings, "tls_key", "", None),
    (EdgeSettings, "tls_client_ca", "/etc/ca.pem", Path("/etc/ca.pem")),
    (EdgeSettings, "tls_ca", "/etc/ca.pem", Path("/etc/ca.pem")),
    (EdgeSettings, "tls_client_certificate", "optional", "optional"),
    (EdgeSettings, "tls_check_servers", "false", False),
    (EdgeSettings, "ws_origins", "https://app.example", "https://app.example"),
    (EdgeSettings, "max_connections_per_source", "1", 1),
    (EdgeSettings, "handshake_timeout", "1", 1),
    (EdgeSettings, "message_timeout", "86400", 86400),
    (EdgeSettings, "idle_timeout", "60", 60),
    (EdgeSettings, "reuse_port", "true", True),
    (EdgeSettings, "server_address", "sip.example:5060", "sip.example:5060"),
    (EdgeSettings, "auth", "none", "none"),
    (EdgeSettings, "sip_published", "0.0.0.0", "0.0.0.0"),
    (EdgeSettings, "auth", "digest", "digest"),
    (EdgeSettings, "trusted_peers", "192.0.2.7, 2001:db8::/32", "192.0.2.7, 2001:db8::/32"),
    (EdgeSettings, "realm", "Example.com", "example.com"),
    (EdgeSettings, "digest_algorithms", "md5, sha-256", "SHA-256,MD5"),
    (EdgeSettings, "max_requests_per_second", "", None),
    (EdgeSettings, "max_requests_per_second", "0", 0),
    (EdgeSettings, "max_requests_burst", "1", 1),
    (EdgeSettings, "max_waiting_time", "0", 0),
    (EdgeSettings, "ban_threshold", "", None),
    (EdgeSettings, "ban_threshold", "50", 50),
    (EdgeSettings, "ban_time", "1", 1),
    (EdgeSettings, "ban_time_max", "86400", 86_400),
    (EdgeSettings, "ban_time_udp", "5", 5),
    (EdgeSettings, "max_wrong_passwords", "0", 0),
    (EdgeSettings, "nonce_lifetime", "86400", 86_400),
    (EdgeSettings, "users_max_age", "0", 0),
    (EdgeSettings, "redis_url", "", ""),
    (EdgeSettings, "redis_url", "unix:///run/redis.sock", "unix:///run/redis.sock"),
    (EdgeSettings, "core_peers", "core:1", "core:1"),
    (EdgeSettings, "notifier_peers", "notifier:1", "notifier:1"),
    (EdgeSettings, "edge_peers", "edge:1", "edge:1"),
    (EdgeSettings, "t1", "20", 20),
    (EdgeSettings, "t2", "60000", 60_000),
    (EdgeSettings, "t4", "1", 1),
    (EdgeSettings, "max_body_size", "1024", 1024),
    (EdgeSettings, "max_connections", "1", 1),
    (EdgeSettings, "max_ongoing", "1", 1),
    (EdgeSettings, "max_notifies", "1", 1),
    (EdgeSettings, "max_udp_size", "0", 0),
    (EdgeSettings, "nat_handling", "always", "always"),
    (EdgeSettings, "call_batch", "4096", 4096),
]


def refused(kind: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a service says when it does not start; it ends with code 2."""
    with pytest.raises(SystemExit) as end:
        load_settings(kind)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.fixture(autouse=True)
def _no_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in SERVICES:
        for name in (*kind.model_fields, "config"):
            monkeypatch.delenv(f"VEDETTE_{name.upper()}", raising=False)


@pytest.mark.parametrize("kind", SERVICES, ids=lambda kind: kind.__name__)
def test_every_service_starts_without_a_parameter(kind: type[ServiceSettings]) -> None:
    assert load_settings(kind) == kind()


@pytest.mark.parametrize(("kind", "name", "value", "read"), GOOD, ids=str)
def test_a_parameter_is_read_from_the_environment(
    kind: type[ServiceSettings], name: str, value: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"VEDETTE_{name.upper()}", value)
    assert getattr(load_settings(kind), name) == read


@pytest.mark.parametrize(("kind", "name", "value", "allowed"), BAD, ids=str)
def test_a_bad_value_is_told_with_its_name_and_what_is_allowed(
    kind: type[ServiceSettings],
    name: str,
    value: str,
    allowed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"VEDETTE_{name.upper()}", value)
    lines = refused(kind, capsys)
    assert len(lines) == 1
    assert lines[0].startswith(f"VEDETTE_{name.upper()}: ")
    assert allowed in lines[0]
    assert value in lines[0]
    assert str(kind.model_fields[name].description) in lines[0]
    assert "Value error" not in lines[0]


def test_the_tables_above_miss_no_parameter() -> None:
    names = {name for kind in SERVICES for name in kind.model_fields}
    assert {name for _, name, _, _ in GOOD} == names
    assert {name for _, name, _, _ in BAD} == names - FREE_TEXT


@pytest.mark.parametrize("kind", SERVICES, ids=lambda kind: kind.__name__)
def test_every_parameter_is_described(kind: type[ServiceSettings]) -> None:
    assert [name for name, field in kind.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_each_bad_parameter_has_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"MAX_EXPIRES": "soon", "MIN_EXPIRES": "-1", "PRES_HTABLE_SIZE": "99"}.items():
        monkeypatch.setenv(f"VEDETTE_{name}", value)
    names = {line.partition(":")[0] for line in refused(CoreSettings, capsys)}
    assert names == {"VEDETTE_MAX_EXPIRES", "VEDETTE_MIN_EXPIRES", "VEDETTE_PRES_HTABLE_SIZE"}


# an edge that strangers reach


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.1,::1"])
def test_an_edge_on_loopback_needs_no_authentication(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_SIP_HOST", host)
    assert load_settings(EdgeSettings).access().mode == "none"


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "127.0.0.1,2001:db8::1"])
def test_an_open_edge_has_to_be_asked_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_SIP_HOST", host)
    assert load_settings(EdgeSettings).access().mode == "digest"
    monkeypatch.setenv("VEDETTE_AUTH", "none")
    assert load_settings(EdgeSettings).access().mode == "none"


@pytest.mark.parametrize(
    ("published", "mode"),
    [("127.0.0.1", "none"), ("::1", "none"), ("0.0.0.0", "digest"), ("192.0.2.1", "digest"), ("", "digest")],
)
def test_parameter_sip_published_counts_where_the_edge_is_in_a_container(
    published: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEDETTE_SIP_HOST", "0.0.0.0")
    monkeypatch.setenv("VEDETTE_SERVER_ADDRESS", "127.0.0.1:5060")
    monkeypatch.setenv("VEDETTE_SIP_PUBLISHED", published)
    monkeypatch.setenv("VEDETTE_AUTH", "")
    assert load_settings(EdgeSettings).access().mode == mode


def test_trusted_peers_alone_need_a_trusted_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEDETTE_AUTH", "trusted")
    (line,) = refused(EdgeSettings, capsys)
    assert line.startswith("VEDETTE_TRUSTED_PEERS: names nobody")
    monkeypatch.setenv("VEDETTE_TRUSTED_PEERS", "192.0.2.0/24")
    assert load_settings(EdgeSettings).access().mode == "trusted"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_edge_on_all_addresses_has_to_know_its_own(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEDETTE_SIP_HOST", host)
    monkeypatch.setenv("VEDETTE_AUTH", "none")
    (line,) = refused(EdgeSettings, capsys)
    assert line.startswith(f"VEDETTE_SERVER_ADDRESS: has to be set where VEDETTE_SIP_HOST is {host}")
    monkeypatch.setenv("VEDETTE_SERVER_ADDRESS", "sip.example:5060")
    assert load_settings(EdgeSettings).server_address == "sip.example:5060"


@pytest.mark.parametrize("port", ["TLS_PORT", "WSS_PORT"])
def test_tls_needs_a_certificate(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"VEDETTE_{port}", "5061")
    (line,) = refused(EdgeSettings, capsys)
    assert line.startswith(f"VEDETTE_TLS_CERTIFICATE: has to be set where VEDETTE_{port} is")
    monkeypatch.setenv("VEDETTE_TLS_CERTIFICATE", "/etc/tls.pem")
    assert getattr(load_settings(EdgeSettings), port.lower()) == 5061


# the file


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vedette.toml"
    file.write_text('min_expires = 60\nmax_expires = 600\nt1 = 20\ndomains = "a.example"\n')
    monkeypatch.setenv("VEDETTE_CONFIG", str(file))
    monkeypatch.setenv("VEDETTE_MAX_EXPIRES", "900")
    settings = load_settings(CoreSettings)
    assert (settings.min_expires, settings.max_expires, settings.domains) == (60, 900, "a.example")
    assert load_settings(EdgeSettings).t1 == 20


def test_an_empty_name_of_the_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_CONFIG", "")
    assert load_settings(CoreSettings) == CoreSettings()


def test_a_bad_value_in_the_file_names_the_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vedette.toml"
    file.write_text("clean_period = 0\n")
    monkeypatch.setenv("VEDETTE_CONFIG", str(file))
    (line,) = refused(NotifierSettings, capsys)
    assert line.startswith("VEDETTE_CLEAN_PERIOD: ")
    assert AT_LEAST.format(1) in line


@pytest.mark.parametrize("content", [None, "min_expires = 'six", "\x00"], ids=["missing", "unreadable", "binary"])
def test_a_file_that_cannot_be_read_stops_the_start(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vedette.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("VEDETTE_CONFIG", str(file))
    (line,) = refused(CoreSettings, capsys)
    assert line.startswith("VEDETTE_CONFIG: ")


# where things are


@pytest.mark.parametrize(
    "value",
    ["", "sip.example:5060", "presence_core.:1", "192.0.2.1:65535", "[2001:db8::1]:5060", "a-b:5060", "127.1x:5060"],
)
def test_parameter_server_address_takes_names_and_addresses(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_SERVER_ADDRESS", value)
    assert load_settings(EdgeSettings).server_address == value


@pytest.mark.parametrize("value", ["core:8070", "core:8070, [::1]:8070", "@/run/a b", "@/run/core.peers,core:8070"])
def test_peers_are_addresses_and_files(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_CORE_PEERS", value)
    assert load_settings(EdgeSettings).core_peers == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("db_url", "postgresql://p@one:1,[::1]:2,three/v"),
        ("db_url", "postgresql://p@/v?host=/run/postgresql"),
        ("redis_url", "unix:///run/redis?db=0"),
        ("redis_url", "rediss://:secret@[::1]:6379/0"),
    ],
)
def test_parameter_db_url_and_parameter_redis_url_take_what_the_drivers_take(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"VEDETTE_{name.upper()}", value)
    assert getattr(load_settings(StoreSettings), name) == value


@pytest.mark.parametrize("password", ["plain", "p@ss:w/o?r#d%41 +"])
def test_parameter_db_password_file_takes_any_password(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(password + "\n")
    monkeypatch.setenv("VEDETTE_DB_URL", "postgresql://owner:old@db:5432/v?application_name=a@b")
    monkeypatch.setenv("VEDETTE_DB_PASSWORD_FILE", str(file))
    url = urlsplit(load_settings(StoreSettings).database_url())
    assert (url.username, unquote(url.password or ""), url.hostname, url.port) == ("owner", password, "db", 5432)


def test_parameter_db_password_file_needs_a_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEDETTE_DB_URL", "postgresql://db/v")
    monkeypatch.setenv("VEDETTE_DB_PASSWORD_FILE", "/run/password")
    (line,) = refused(StoreSettings, capsys)
    assert line.startswith("VEDETTE_DB_URL: names no user")


# names of tables


def test_one_name_is_not_said_of_two_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEDETTE_PRESENTITY_TABLE", "theirs")
    monkeypatch.setenv("VEDETTE_WATCHERS_TABLE", "theirs")
    (line,) = refused(StoreSettings, capsys)
    assert line.startswith("VEDETTE_PRESENTITY_TABLE: 'theirs' is said of two tables.")


# secrets


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://vedette:hunter2@db/v", "mysql://vedette:***@db/v"),
        ("mysql://vedette@db/v?password=hunter2&x=1", "mysql://vedette@db/v?password=***&x=1"),
        ("mysql://[hunter2", "***"),
    ],
)
def test_sec_06_a_bad_url_is_told_without_its_password(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VEDETTE_DB_URL", url)
    (line,) = refused(StoreSettings, capsys)
    assert f"Found: {told!r}." in line
    assert "hunter2" not in line


def test_sec_06_a_bad_secret_is_not_printed() -> None:
    error = {"loc": ("cluster_secret",), "msg": "too short", "type": "too_short", "input": "hunter2"}
    line = describe(StoreSettings, error)
    assert line == "VEDETTE_CLUSTER_SECRET: too short."


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("postgresql://vedette@db/v", "postgresql://vedette:s3cret@db/v"),
        ("postgresql://vedette:old@db:5433/v", "postgresql://vedette:s3cret@db:5433/v"),
        ("postgresql://vedette@/v?host=/run/pg", "postgresql://vedette:s3cret@/v?host=/run/pg"),
    ],
)
def test_the_password_comes_from_its_file(url: str, whole: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    assert StoreSettings(db_url=url, db_password_file=file).database_url() == whole


def test_without_a_password_file_the_url_is_as_given() -> None:
    url = "postgresql://vedette:given@db/v"
    assert StoreSettings(db_url=url).database_url() == url


def test_a_password_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StoreSettings(db_password_file=tmp_path / "none").database_url()


# what the decisions get


def test_the_policy_is_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DOMAINS": "A.example, b.EXAMPLE",
        "MIN_EXPIRES": "60",
        "MAX_EXPIRES": "600",
        "TO_TAG_PREF": "v",
        "CONTACT_USER": "p",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"VEDETTE_{name}", value)
    policy = load_settings(CoreSettings).policy(b"secret")
    assert policy.secret == b"secret"
    assert policy.domains == {"a.example", "b.example"}
    assert (policy.min_expires, policy.max_expires_publish, policy.max_expires_subscribe) == (60, 600, 600)
    assert (policy.to_tag_pref, policy.contact_user) == ("v", "p")


def test_no_domains_means_all() -> None:
    assert CoreSettings().policy(b"").domains == frozenset()
