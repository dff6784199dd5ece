"""Who may see what: rules documents (RFC 4745, RFC 5025), what they decide, and what they leave of a document."""
