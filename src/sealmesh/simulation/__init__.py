"""A whole mesh of gossip cores on a virtual clock, seeded: how it spreads, heals and withstands, in figures."""
