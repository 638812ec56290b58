"""Published networks as plain data, with their published figures beside exact counts; weights are not shipped."""

from __future__ import annotations

from anybudget.registry import Registry
from anybudget.zoo.network import IMAGENET, Images, Published, ZooNetwork, rounds_to

ZOO: Registry[ZooNetwork] = Registry(
    "network of the zoo",
    "anybudget.zoo",
    {
        "sgnas-a": "anybudget.zoo.published:SGNAS_A_NETWORK",
        "sgnas-b": "anybudget.zoo.published:SGNAS_B_NETWORK",
        "sgnas-c": "anybudget.zoo.published:SGNAS_C_NETWORK",
        "spos": "anybudget.zoo.published:SPOS_NETWORK",
        "spos-channels": "anybudget.zoo.published:SPOS_CHANNELS_NETWORK",
        "fbnet-a": "anybudget.zoo.published:FBNET_A_NETWORK",
        "fbnet-b": "anybudget.zoo.published:FBNET_B_NETWORK",
        "fbnet-c": "anybudget.zoo.published:FBNET_C_NETWORK",
        "proxyless-r": "anybudget.zoo.published:PROXYLESS_R_NETWORK",
        "mobilenetv2": "anybudget.zoo.published:MOBILENET_V2_NETWORK",
        "mobilenetv3-large": "anybudget.zoo.published:MOBILENET_V3_NETWORK",
        "efficientnet-b0": "anybudget.zoo.published:EFFICIENTNET_B0_NETWORK",
        "mixnet-m": "anybudget.zoo.published:MIXNET_M_NETWORK",
    },
)
"""Every known network by the name that commands use."""

__all__ = ["IMAGENET", "ZOO", "Images", "Published", "ZooNetwork", "rounds_to"]
