"""Recipes from data and a machine: rules that set each key with a reason, and what the work of a recipe takes."""
