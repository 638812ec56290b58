"""Blocks as lines of Python: the call that builds each in a stand-alone file, and what its weights are called there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from anybudget.errors import ConfigError
from anybudget.export.parts import BLOCKS, HEAD, STEM, part_names
from anybudget.spaces import BlockSpec, ClassifierSpec, ConvSpec, InvertedBottleneckSpec, SkipSpec
from anybudget.spaces.blocks import ActivationName, GateName
from anybudget.spaces.nas_bench_201 import CellSpec, NormActivationSpec, ReductionSpec
from anybudget.spaces.resnet_bits import BasicBlockSpec, MaxPoolSpec
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec
from anybudget.spaces.split import SplitBottleneckSpec

ACTIVATIONS: dict[ActivationName, str] = {
    "relu": "nn.ReLU",
    "relu6": "nn.ReLU6",
    "hard_swish": "nn.Hardswish",
    "silu": "nn.SiLU",
}
"""The class of each activation, as code names it."""

WIDTH = 120
"""The longest line of a file."""

_TABLE = 12  # spaces before a line of the table

Argument = int | bool | str | tuple[Any, ...] | dict[int, int]


@dataclass(frozen=True)
class Code:
    """A block as code.

    `features` name what of the template it needs: classes, and parts of these. `renames` are patterns of the names of
    its weights in our own module, and what stands there instead.
    """

    call: str
    arguments: tuple[Argument, ...] = ()
    keywords: dict[str, Argument] = field(default_factory=dict)
    activation: ActivationName | None = None
    features: frozenset[str] = frozenset()
    renames: tuple[tuple[str, str], ...] = ()

    def line(self, usual: ActivationName | None) -> str:
        """The call; the activation is named where it is not the usual one, which is the default of every class."""
        defaults = _DEFAULTS if usual else {**_DEFAULTS, "act": "None"}
        given = {name: value for name, value in self.keywords.items() if value != defaults.get(name)}
        act = {"act": ACTIVATIONS[self.activation]} if self.activation not in (None, usual) else {}
        parts = [_text(value) for value in self.arguments]
        parts += [f"{name}={_text(value)}" for name, value in given.items()]
        parts += [f"{name}={value}" for name, value in act.items()]
        return called(self.call, parts, indent=_TABLE, end=",").removesuffix(",")

    def renamed(self, key: str) -> str:
        """What a weight of our own module is called in the file."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key


HIDDEN = "hidden"
"""The layer between pooling and the last one, where a classifier has it."""

_DEFAULTS: dict[str, Argument] = {"stride": 1, "groups": 1, "expand": True, "se_channels": 0, "separable": 1}
_DEFAULTS |= {"expand_groups": 1, "project_groups": 1}
"""Of keywords of the template's classes: a line leaves these out."""


@dataclass(frozen=True)
class NetworkCode:
    """A network as code: a line for each part, and for every name of a weight of ours the one in the file.

    `flags` are the features of all blocks; `usual` is the activation that classes have by default.
    """

    stem: str | None
    blocks: tuple[str, ...]
    head: str | None
    flags: frozenset[str]
    usual: str | None
    cell: CellSpec | None
    prefixes: tuple[tuple[str, str, Code], ...]

    def renamed(self, key: str) -> str:
        """What a weight of our own network, an `nn.Sequential` of blocks, is called in the file."""
        index, _, rest = key.partition(".")
        for number, prefix, code in self.prefixes:
            if number == index:
                name = code.renamed(rest)
                return name if name.startswith(f"{HIDDEN}.") else f"{prefix}.{name}"
        raise KeyError(key)


def network_code(specs: Sequence[BlockSpec]) -> NetworkCode:
    """The code of a network.

    Raises:
        ConfigError: a block is of a kind that has no source; or the last one is no classifier.

    Example:
        >>> specs = (ConvSpec(1, 4, 3, 2, 28, "relu"), SkipSpec(4, 8, 2, 14), ClassifierSpec(8, 10))
        >>> code = network_code(specs)
        >>> code.stem, code.blocks
        ('ConvNorm(1, 4, kernel=3, stride=2)', ('ConvNorm(4, 8, stride=2, act=None)',))
        >>> code.renamed("2.linear.bias")
        'classifier.bias'
    """
    names = part_names(specs)
    coded = [(name, code_of(spec)) for name, spec in zip(names, specs, strict=True)]
    flags: frozenset[str] = frozenset().union(*(code.features for name, code in coded if name is not None))
    if {"sigmoid", "hard_sigmoid"} <= flags:
        raise ConfigError(
            "--to torch: gates of squeeze-and-excitation are of two kinds in this network; take --to onnx"
        )
    counted = Counter(code.activation for name, code in coded if name is not None and code.activation)
    usual = counted.most_common(1)[0][0] if counted else None
    lines = {name: code.line(usual) for name, code in coded if name is not None}
    cells = [spec for spec in specs if isinstance(spec, CellSpec)]
    return NetworkCode(
        stem=lines.get(STEM),
        blocks=tuple(line for name, line in lines.items() if name.startswith(BLOCKS)),
        head=lines.get(HEAD),
        flags=flags,
        usual=ACTIVATIONS[usual] if usual else None,
        cell=cells[0] if cells else None,
        prefixes=tuple((str(index), name, code) for index, (name, code) in enumerate(coded) if name is not None),
    )


@singledispatch
def code_of(spec: BlockSpec) -> Code:
    """The code of a block; each kind registers its own, and has a class in the template or is one of torch's.

    Raises:
        ConfigError: this kind has none.
    """
    raise ConfigError(
        f"--to torch: no source is registered for blocks of the kind {type(spec).__name__}; register it with "
        "anybudget.export.source.code_of, or take --to onnx"
    )


@code_of.register
def _(spec: ConvSpec) -> Code:
    return _conv_norm(spec.in_channels, spec.out_channels, spec.kernel, spec.stride, spec.activation)


@code_of.register
def _(spec: SkipSpec) -> Code:
    return _conv_norm(spec.in_channels, spec.out_channels, 1, spec.stride, None)


def _conv_norm(source: int, target: int, kernel: int, stride: int, act: ActivationName | None) -> Code:
    keywords: dict[str, Argument] = {"kernel": kernel} if kernel > 1 else {}
    keywords |= {"stride": stride} | ({} if act else {"act": "None"})
    return Code("ConvNorm", (source, target), keywords, act, frozenset({"ConvNorm"}))


@code_of.register
def _(spec: InvertedBottleneckSpec) -> Code:
    features = {"ConvNorm"} | _se_features(spec.se_channels, spec.se_gate)
    keywords: dict[str, Argument] = {"stride": spec.stride}
    if len(spec.branches) > 1:
        kernels = {branch.kernel: branch.channels for branch in spec.branches}
        keywords = {"kernels": kernels} | keywords | {"se_channels": spec.se_channels}
        mixed = features | {"MixedBottleneck"} | ({"mixed_se"} if spec.se_channels else set())
        return Code(
            "MixedBottleneck", (spec.in_channels, spec.out_channels), keywords, spec.activation, frozenset(mixed)
        )
    keywords |= {"se_channels": spec.se_channels, "groups": spec.groups}
    sizes: dict[str, Argument] = {"kernel": spec.branches[0].kernel, "expanded": spec.expanded_channels}
    single = features | {"InvertedBottleneck"}
    single |= {
        feature
        for feature, used in (("groups", spec.groups > 1), ("se", spec.se_channels), ("unexpanded", not spec.expand))
        if used
    }
    if not spec.expand:
        keywords |= {"expand": False}
    # The norm of a sum of branches is that of the projection where there is one branch.
    renames = ((r"^norm\.", "project.norm."), (r"^branches\.0\.project\.", "project.conv."), (r"^branches\.0\.", ""))
    given = (spec.in_channels, spec.out_channels)
    return Code("InvertedBottleneck", given, sizes | keywords, spec.activation, frozenset(single), renames)


@code_of.register
def _(spec: SplitBottleneckSpec) -> Code:
    kernels = {branch.kernel: branch.channels for branch in spec.branches}
    keywords: dict[str, Argument] = {"kernels": kernels, "stride": spec.stride, "se_channels": spec.se_channels}
    keywords |= {"expand_groups": spec.expand_groups, "project_groups": spec.project_groups}
    features = {"ConvNorm", "SplitBottleneck"} | _se_features(spec.se_channels, spec.se_gate)
    features |= {"split_se"} if spec.se_channels else set()
    renames = ((r"^project\.", "project.conv."), (r"^norm\.", "project.norm."))
    given = (spec.in_channels, spec.out_channels)
    return Code("SplitBottleneck", given, keywords, spec.activation, frozenset(features), renames)


def _se_features(channels: int, gate: GateName) -> set[str]:
    return {"SqueezeExcite", gate} if channels else set()


@code_of.register
def _(spec: ShuffleUnitSpec) -> Code:
    given = (spec.in_channels, spec.out_channels)
    keywords: dict[str, Argument] = {"kernel": spec.kernel, "stride": spec.stride, "separable": spec.separable}
    features = {"ConvNorm", "ShuffleUnit"} | ({"separable"} if spec.separable > 1 else {"plain_unit"})
    if spec.mid_channels != spec.out_channels // 2:
        keywords, features = {**keywords, "middle": spec.mid_channels}, features | {"middle"}
    return Code("ShuffleUnit", given, keywords, spec.activation, frozenset(features))


@code_of.register
def _(spec: BasicBlockSpec) -> Code:
    bits: dict[str, Argument] = {"weight_bits": spec.weight_bits, "input_bits": spec.activation_bits}
    keywords: dict[str, Argument] = {"stride": spec.stride}
    renames = ((r"\.steps\.w\d+$", ".weight_step"), (r"\.steps\.a\d+$", ".input_step"))
    features = frozenset({"BasicBlock"} | ({"binary"} if spec.weight_bits == 1 else set()))
    return Code("BasicBlock", (spec.in_channels, spec.out_channels), bits | keywords, None, features, renames)


@code_of.register
def _(_spec: MaxPoolSpec) -> Code:
    return Code("nn.MaxPool2d", (3,), {"stride": 2, "padding": 1})


@code_of.register
def _(spec: CellSpec) -> Code:
    features = {"Cell"} | ({"none"} if "none" in spec.operations else set())
    features |= {"ActConvNorm"} if any("conv" in name for name in spec.operations) else set()
    return Code("Cell", (spec.channels,), {}, None, frozenset(features))


@code_of.register
def _(spec: ReductionSpec) -> Code:
    return Code("Reduction", (spec.in_channels, spec.out_channels), {}, None, frozenset({"ActConvNorm", "Reduction"}))


@code_of.register
def _(spec: NormActivationSpec) -> Code:
    return Code("nn.Sequential", (f"nn.BatchNorm2d({spec.channels})", "nn.ReLU()"))


@code_of.register
def _(spec: ClassifierSpec) -> Code:
    renames = ((r"^linear\.", ""), (r"^hidden\.0\.", f"{HIDDEN}."))
    return Code("nn.Linear", (spec.hidden or spec.in_features, spec.classes), renames=renames)


def called(name: str, arguments: Sequence[str], *, indent: int, end: str) -> str:
    """A call, or the head of a function, broken into lines as ruff does: at its brackets, then at every comma.

    Args:
        name: what stands before the brackets.
        arguments: within them.
        indent: how many spaces will stand before it; those of further lines are relative to that.
        end: what stands behind the brackets.
    """
    listed = ", ".join(arguments)
    line = f"{name}({listed}){end}"
    if indent + len(line) <= WIDTH:
        return line
    inner = [listed] if indent + 4 + len(listed) <= WIDTH else [f"{argument}," for argument in arguments]
    return "\n".join([f"{name}(", *(f"    {part}" for part in inner), f"){end}"])


def _text(value: Argument) -> str:
    """A value as code; texts are code already."""
    return value if isinstance(value, str) else repr(value)
