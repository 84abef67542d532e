"""Which host gets a request, and why the others do not: records joined with verdicts and with what was seen."""
