"""Known networks as a yardstick of cost: "as costly as MobileNetV2 times 0.5", "as costly as SGNAS-A"."""

from __future__ import annotations

import re
from dataclasses import replace

from anybudget.errors import ConfigError, shown
from anybudget.zoo import ZOO, Images, ZooNetwork
from anybudget.zoo.searched import mobilenet_v2

_TEXT = re.compile(r"(?P<name>.*?)(?:\s*[x×\s]\s*(?P<width>\d+(?:\.\d+)?))?", re.IGNORECASE)
_MOBILENET = re.compile(r"mobilenet[-_ ]?v2", re.IGNORECASE)


def read_like(text: str) -> ZooNetwork:
    """The network of the zoo in a text such as "sgnas-a" or "mobilenetv2 x0.5"; MobileNetV2 alone takes a width.

    Raises:
        ConfigError: it is none.

    Example:
        >>> read_like("MobileNetV2 x0.5").title, read_like("sgnas-a").title
        ('MobileNetV2 times 0.5', 'SGNAS-A')
    """
    said = text.strip().lower()
    if said in ZOO:
        return ZOO[said]
    match = _TEXT.fullmatch(said)
    if match and _MOBILENET.fullmatch(match["name"]):
        width = float(match["width"] or 1.0)
        if 0.05 <= width <= 10.0:
            title = f"MobileNetV2 times {width:g}"
            return replace(ZOO["mobilenetv2"], title=title, layout=mobilenet_v2(width))
    raise ConfigError(
        f'--like {shown(text)}: write "mobilenetv2 x0.5", with a width from 0.05 to 10, or one of {", ".join(ZOO)}'
    )


def multiply_adds(network: ZooNetwork, size: int, channels: int, classes: int) -> float:
    """Multiply-adds of a network on images of `size` pixels, its classifier included.

    Example:
        >>> round(multiply_adds(read_like("mobilenetv2"), 224, 3, 1000) / 1e6)
        301
    """
    return float(network.count("macs", Images(channels, size, classes)))
