"""Search: budgets in, architectures out; one strategy per file, and hard-budget decoding."""
