"""The SIP edge: transports and transactions towards the clients, batched calls towards presence-core."""
