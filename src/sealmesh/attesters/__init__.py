"""Talks to the hardware of this machine: TPM, confidential guest, GPU, Secure Enclave. Knows nothing of verdicts."""
