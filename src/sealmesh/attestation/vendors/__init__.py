"""One module for each kind of evidence; `sealmesh.attestation.verifier` holds the registry."""
