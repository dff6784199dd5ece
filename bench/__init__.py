"""Vedette beside Kamailio: the same load, on the same machine, over the same Postgres, one after the other."""
