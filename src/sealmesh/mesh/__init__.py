"""Links between members: connections, admission before anything else, and the driver of the gossip core."""
