"""Non-INVITE transactions (RFC 3261 section 17, RFC 4320) as tables, and the layer that runs many of them."""
