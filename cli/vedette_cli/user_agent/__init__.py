"""A SIP user agent on the library's own stack: publishes and watches as a phone does."""
