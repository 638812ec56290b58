"""The MBConv space with and without squeeze-and-excitation."""

from __future__ import annotations

from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.spaces.settings import Some

_PLAIN = tuple(f"k{kernel}_e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6))


class MBConvSESettings(MBConvSettings):
    """`MBConvSettings` with every operation also with squeeze-and-excitation."""

    operations: Some[str] = (*_PLAIN, *(f"{operation}_se" for operation in _PLAIN), "skip")


class MBConvSESpace(MBConvSpace):
    """21 layers of 13 operations: the larger space of GreedyNAS §5.1."""

    name = "mbconv-se"
    settings_type = MBConvSESettings
