"""Connections and streams between nodes: one contract, QUIC by iroh, and an in-memory one with faults on demand."""
