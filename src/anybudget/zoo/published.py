"""The published networks, with what their papers say of them and why a count here differs where one does.

Figures are of ImageNet at 224 pixels, as printed. Weights are not shipped.
"""

from __future__ import annotations

from anybudget.zoo.designed import efficientnet_b0, mixnet_m, mobilenet_v3_large
from anybudget.zoo.network import Published, ZooNetwork
from anybudget.zoo.searched import (
    FBNET_A,
    FBNET_B,
    FBNET_C,
    PROXYLESS_R,
    SGNAS_A,
    SGNAS_B,
    SGNAS_C,
    fbnet,
    mobilenet_v2,
    proxyless,
    sgnas,
    spos,
    spos_channels,
)

_SGNAS = "Huang and Chu 2021 (SGNAS), Table 2"
_FBNET = "Wu et al. 2019 (FBNet), Table 3"

SGNAS_A_NETWORK = ZooNetwork("sgnas-a", "SGNAS-A", sgnas(SGNAS_A), Published("373M", "6.0M", 77.1, _SGNAS, "conv_macs"))
SGNAS_B_NETWORK = ZooNetwork("sgnas-b", "SGNAS-B", sgnas(SGNAS_B), Published("326M", "5.5M", 76.8, _SGNAS, "conv_macs"))
SGNAS_C_NETWORK = ZooNetwork("sgnas-c", "SGNAS-C", sgnas(SGNAS_C), Published("281M", "4.7M", 76.2, _SGNAS, "conv_macs"))
SPOS_NETWORK = ZooNetwork(
    "spos",
    "SPOS, block search",
    spos(),
    Published("323M", "3.5M", 74.4, "README of megvii-model/SinglePathOneShot; Guo et al. 2020 (SPOS) has 74.3 %"),
    "parameters: 3.53 M without the scales and shifts of norms, which rounds to the published figure",
)
SPOS_CHANNELS_NETWORK = ZooNetwork(
    "spos-channels",
    "SPOS, search of blocks and channels",
    spos_channels(),
    Published("328M", "3.4M", 74.9, "README of megvii-model/ShuffleNet-Series, OneShot"),
)
FBNET_A_NETWORK = ZooNetwork(
    "fbnet-a",
    "FBNet-A",
    fbnet(FBNET_A, 1504),
    Published("249M", "4.3M", 73.0, _FBNET),
    "multiply-adds: the published figure seems to be cut, not rounded",
)
FBNET_B_NETWORK = ZooNetwork(
    "fbnet-b",
    "FBNet-B",
    fbnet(FBNET_B, 1984),
    Published("295M", "4.5M", 74.1, _FBNET),
    "multiply-adds and parameters: the authors' model definition ends with 1,984 channels, the paper's Table 1 with "
    "1,504, whose convolutions have 295.95 M multiply-adds; parameters would be 4.21 M, so no width gives both figures",
)
FBNET_C_NETWORK = ZooNetwork(
    "fbnet-c",
    "FBNet-C",
    fbnet(FBNET_C, 1984),
    Published("375M", "5.5M", 74.9, _FBNET),
    "multiply-adds: the authors' model definition ends with 1,984 channels, the paper's Table 1 with 1,504, whose "
    "convolutions have 374.70 M; parameters: 5.53 M without the scales and shifts of norms, which rounds to it",
)
PROXYLESS_R_NETWORK = ZooNetwork(
    "proxyless-r",
    "Proxyless-R (mobile)",
    proxyless(PROXYLESS_R),
    Published(
        "320M", "4.1M", 74.6, "Cai et al. 2019 (ProxylessNAS), Table 2 (top-1); costs as later papers quote them"
    ),
)
MOBILENET_V2_NETWORK = ZooNetwork(
    "mobilenetv2",
    "MobileNetV2 1.0",
    mobilenet_v2(),
    Published("300M", "3.4M", 72.0, "Sandler et al. 2018 (MobileNetV2), Table 4"),
    "multiply-adds: the published figure seems to have two digits; parameters: 3.47 M without the scales and shifts of "
    "norms, cut after the first decimal",
)
MOBILENET_V3_NETWORK = ZooNetwork(
    "mobilenetv3-large",
    "MobileNetV3-Large 1.0",
    mobilenet_v3_large(),
    Published("219M", "5.4M", 75.2, "Howard et al. 2019 (MobileNetV3), Table 3"),
    "multiply-adds: 1 % less than published; perhaps pooling, gates and activations are counted there; parameters: "
    "the published figure seems to be cut after its first decimal",
)
EFFICIENTNET_B0_NETWORK = ZooNetwork(
    "efficientnet-b0",
    "EfficientNet-B0",
    efficientnet_b0(),
    Published("0.39G", "5.3M", 77.1, "Tan and Le 2019 (EfficientNet), Table 2; 76.3 % in its first version"),
)
MIXNET_M_NETWORK = ZooNetwork(
    "mixnet-m",
    "MixNet-M",
    mixnet_m(),
    Published("360M", "5.0M", 77.0, "Tan and Le 2019 (MixConv), Table 2"),
    "multiply-adds: 6 % less than published, while the parameters agree; how the paper counts is not known. Perhaps "
    "some of the split pointwise convolutions are counted whole: all of them whole would make 465.9 M",
)
