"""Who is who: keys that cannot be mixed up, signed parts, and who may join a mesh. Pure."""
