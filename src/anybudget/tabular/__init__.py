"""Ground truth: tables of every network of a space with its accuracy when trained alone, and what is held against it."""

from anybudget.tabular.tables import TABLES, TabularBenchmark, load_nas_bench_201, load_nas_bench_macro, load_table

__all__ = ["TABLES", "TabularBenchmark", "load_nas_bench_201", "load_nas_bench_macro", "load_table"]
