"""SIP sockets on asyncio, and the endpoint that joins them to the transaction layer."""
