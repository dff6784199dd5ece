"""Where REST asks for tokens: parameter api_auth."""

import pytest

from presence_core.settings import CoreSettings


@pytest.mark.parametrize(
    ("host", "published", "auth", "mode"),
    [
        ("127.0.0.1", "", "", "none"),
        ("::1", "", "", "none"),
        ("127.0.0.1", "", "token", "token"),
        ("192.0.2.1", "", "", "token"),
        ("0.0.0.0", "", "", "token"),
        ("0.0.0.0", "127.0.0.1", "", "none"),
        ("0.0.0.0", "127.0.0.1", "token", "token"),
        ("0.0.0.0", "192.0.2.1", "", "token"),
        ("127.0.0.1", "192.0.2.1", "", "token"),
        ("0.0.0.0", "192.0.2.1", "none", "none"),
    ],
)
def test_parameter_api_auth_is_token_unless_only_this_machine_reaches_it(
    host: str, published: str, auth: str, mode: str
) -> None:
    settings = CoreSettings.model_validate({"api_host": host, "api_published": published, "api_auth": auth})
    assert settings.api_is_open() is (mode == "none")
