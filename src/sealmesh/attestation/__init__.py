"""Evidence and what it is worth: statements, challenges, envelopes, numbered factors, policy, verdicts.

Pure: bytes, time and policy in; verdicts out. Rules: `docs/spec/statements.md`, `docs/spec/challenge.md`.
"""
