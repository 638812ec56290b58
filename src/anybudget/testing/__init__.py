"""Conformance checks and slow reference computations, shipped for whoever adds a space, a supernet or a cost.

Every check takes an object, raises `AssertionError` with what is wrong, and returns nothing. Use small settings: the
checks build networks and run them in double precision.
"""

from anybudget.testing.mixtures import explicit_mixture
from anybudget.testing.norms import randomise_norms
from anybudget.testing.spaces import check_cost_model, check_space
from anybudget.testing.supernets import check_supernet

__all__ = ["check_cost_model", "check_space", "check_supernet", "explicit_mixture", "randomise_norms"]
