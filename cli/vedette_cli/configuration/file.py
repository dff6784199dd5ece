"""The TOML file that VEDETTE_CONFIG names."""

import tomllib

from vedette.runtime.settings import config_file


def names_in_file() -> list[str]:
    """The names that the file sets; none where there is no file or it cannot be read, which others tell of."""
    try:
        file = config_file()
        return [] if file is None else list(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
