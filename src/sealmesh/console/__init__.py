"""The node's own page: reading for everyone on this machine, changing only with the local token."""
