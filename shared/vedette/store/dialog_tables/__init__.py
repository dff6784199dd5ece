"""Dialogs that live in Redis (`fallback2db=0`): tables, the scripts that change them, their copy in Postgres."""
