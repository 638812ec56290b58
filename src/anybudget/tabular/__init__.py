"""Ground truth: tables of all networks of a space with their accuracy when trained alone, and what they judge."""

from anybudget.tabular.tables import TABLES, TabularBenchmark, load_nas_bench_201, load_nas_bench_macro, load_table

__all__ = ["TABLES", "TabularBenchmark", "load_nas_bench_201", "load_nas_bench_macro", "load_table"]
