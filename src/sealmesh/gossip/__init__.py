"""Records of nodes, signed by their owners: their form, which one counts, and how they spread. Pure."""
