"""The parameters of all services, as a person asks for them."""
