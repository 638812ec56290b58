"""From scores to architectures within hard budgets; torch-free."""
