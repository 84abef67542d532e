"""What `sealmesh doctor` looks at and tries: set-up, posture, and attacks on a process of its own."""
