"""The containers seen from outside: `make compose-test`, where there is a Docker engine. No part of `make test`."""
