"""Fakes of the world around a core: links, peers, clocks, randomness. Never fakes of our own code."""
