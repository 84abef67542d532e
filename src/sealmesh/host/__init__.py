"""The host's side: epochs and their keys, proofs when asked, and one inbound exchange's life."""
