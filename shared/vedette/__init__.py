"""Vedette's library: what two or more members share.

`sip`, `events`, `documents`, `identity` and `batching` are pure: no clock, loop, socket, driver or randomness;
`rpc`, `store`, `transport` and `runtime` touch the world.
"""

VERSION = "0.2.0.dev0"
