"""The order of the steps: deliver, settle outcomes, expire, recover."""
