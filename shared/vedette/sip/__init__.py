"""SIP without I/O: values, messages, framing, transactions, dialogs (RFC 3261, 3581, 3903, 6665)."""
