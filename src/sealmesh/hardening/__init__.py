"""What makes a node's process harder to read from outside: posture, system controls, locked memory."""
