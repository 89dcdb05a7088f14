"""unet.py against a functional recomputation, EXPERIMENTS.md's counts and costs, shapes and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from denoiselab.nets import UNet

KINDS: list[dict[str, Any]] = [
    {},
    {"time": "add"},
    {"time": "multiply"},
    {"time": "add", "num_classes": 10},
    {"time": "multiply", "num_classes": 10},
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())) or "plain")


def inputs(kind: dict[str, Any], batch: int = 3, channels: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """(x, t, c), as many of them as this kind of network takes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, 28, 28, generator=generator, dtype=dtype)
    t = torch.rand(batch, generator=generator, dtype=dtype)
    c = F.one_hot(torch.arange(batch) % 10, 10).to(dtype)
    return [x, t, c][: 1 + ("time" in kind) + ("num_classes" in kind)]


def lively(kind: dict[str, Any], width: int = 3, channels: int = 1) -> UNet:
    """A float64 network in eval mode where no parameter and no statistic has a neutral value."""
    torch.manual_seed(0)
    net = UNet(width, in_channels=channels, **kind).double().eval()
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.05, 0.2)
        elif value.is_floating_point() and value.ndim == 1:
            value.uniform_(0.2, 1.2)
    return net


# --- the formula


def functional(state: dict[str, Tensor], x: Tensor, time: str, t: Tensor | None, c: Tensor | None) -> Tensor:
    """The course's network written out with torch.nn.functional, from the parameters of ours."""

    def norm(h: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        one = [value[None, :, None, None] for value in (mean, var, weight, bias)]
        return F.gelu((h - one[0]) / (one[1] + 1e-5).sqrt() * one[2] + one[3])

    def conv(h: Tensor, name: str, stride: int = 1) -> Tensor:
        h = F.conv2d(h, state[f"{name}.0.weight"], state[f"{name}.0.bias"], stride=stride, padding=1)
        return norm(h, f"{name}.1")

    def transposed(h: Tensor, name: str, stride: int, padding: int) -> Tensor:
        h = F.conv_transpose2d(h, state[f"{name}.0.weight"], state[f"{name}.0.bias"], stride=stride, padding=padding)
        return norm(h, f"{name}.1")

    def conv_block(h: Tensor, name: str) -> Tensor:
        return conv(conv(h, f"{name}.0"), f"{name}.1")

    def fc(v: Tensor, name: str) -> Tensor:
        v = F.gelu(v @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"])
        return (v @ state[f"{name}.2.weight"].T + state[f"{name}.2.bias"])[:, :, None, None]

    h28 = conv_block(x, "enter")
    h14 = conv_block(conv(h28, "down1.0", stride=2), "down1.1")
    h7 = conv_block(conv(h14, "down2.0", stride=2), "down2.1")
    unflatten = transposed(F.gelu(h7.mean(dim=(2, 3), keepdim=True)), "unflatten", 7, 0)
    if t is not None:
        t1, t2 = fc(t[:, None], "time1"), fc(t[:, None], "time2")
        c1, c2 = (fc(c, "class1"), fc(c, "class2")) if c is not None else (1.0, 1.0)

    if t is not None:
        unflatten = c1 * unflatten + t1 if time == "add" else c1 * unflatten * t1
    up1 = conv_block(transposed(torch.cat([unflatten, h7], 1), "up1.0", 2, 1), "up1.1")
    if t is not None:
        up1 = c2 * up1 + t2 if time == "add" else c2 * up1 * t2
    up2 = conv_block(transposed(torch.cat([up1, h14], 1), "up2.0", 2, 1), "up2.1")
    h = conv_block(torch.cat([up2, h28], 1), "leave.0")
    return F.conv2d(h, state["leave.1.weight"], state["leave.1.bias"], padding=1)


@every_kind
@pytest.mark.parametrize("channels", [1, 2])
def test_forward_is_the_courses_formula(kind: dict[str, Any], channels: int) -> None:
    net = lively(kind, channels=channels)
    x, t, c = [*inputs(kind, channels=channels, dtype=torch.float64), None, None][:3]
    with torch.no_grad():
        got, expected = net(x, t, c), functional(net.state_dict(), x, kind.get("time", "none"), t, c)
    assert expected.std() > 1e-2
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@every_kind
def test_every_input_and_every_parameter_matters(kind: dict[str, Any]) -> None:
    net = lively(kind)
    values = [value.requires_grad_() for value in inputs(kind, dtype=torch.float64)]
    net(*values).square().sum().backward()
    for value in values:
        assert value.grad is not None and bool((value.grad.reshape(3, -1) != 0).any(dim=1).all())
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_a_dropped_class_is_neither_a_class_nor_no_class_vector() -> None:
    kind = KINDS[3]
    net = lively(kind)
    x, t, c = inputs(kind, dtype=torch.float64)
    with torch.no_grad():
        given_class, dropped, other = (
            net(x, t, c),
            net(x, t, torch.zeros_like(c)),
            net(x, t, c.roll(1, dims=1)),
        )
    for a, b in [(given_class, dropped), (given_class, other), (dropped, other)]:
        assert bool(((a - b).abs().flatten(1).amax(dim=1) > 1e-4).all())


@every_kind
def test_the_images_of_a_batch_do_not_mix_in_eval_mode(kind: dict[str, Any]) -> None:
    net, batch = lively(kind), inputs(kind, dtype=torch.float64)
    with torch.no_grad():
        together = net(*batch)
        for i in range(3):
            torch.testing.assert_close(net(*(value[i : i + 1] for value in batch)), together[i : i + 1])


def test_time_modes_differ_with_the_same_parameters() -> None:
    add, multiply = lively(KINDS[1]), lively(KINDS[2])
    multiply.load_state_dict(add.state_dict())
    x, t = inputs(KINDS[1], dtype=torch.float64)
    with torch.no_grad():
        assert (add(x, t) - multiply(x, t)).abs().max() > 1e-3


# --- counts and costs


COUNTS = [
    (64, KINDS[0], 1_975_361, "1.975"),
    (64, KINDS[1], 1_996_417, "1.996"),
    (64, KINDS[3], 2_019_201, "2.019"),
    (128, KINDS[0], 7_891_073, "7.891"),
    (128, KINDS[1], 7_974_145, "7.974"),
    (128, KINDS[3], 8_060_673, "8.061"),
]


@pytest.mark.parametrize(("width", "kind", "count", "millions"), COUNTS)
def test_parameter_counts_are_the_courses(width: int, kind: dict[str, Any], count: int, millions: str) -> None:
    with torch.device("meta"):
        net = UNet(width, **kind)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert f"{count / 1e6:.3f}" == millions  # as EXPERIMENTS.md prints it
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(("width", "gigaflops"), [(64, "0.536"), (128, "2.139")])
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[3]], ids=["plain", "time", "class"])
def test_the_cost_of_an_image_is_the_courses(width: int, gigaflops: str, kind: dict[str, Any]) -> None:
    with torch.device("meta"):
        net = UNet(width, **kind).eval()
    with FlopCounterMode(display=False) as counter:
        net(*(value.to("meta") for value in inputs(kind, batch=1)))
    assert f"{counter.get_total_flops() / 1e9:.3f}" == gigaflops


def test_time_modes_have_the_same_parameters() -> None:
    with torch.device("meta"):
        states = [UNet(8, time, num_classes=10).state_dict() for time in ("add", "multiply")]
    assert [(name, value.shape) for name, value in states[0].items()] == [
        (name, value.shape) for name, value in states[1].items()
    ]


@pytest.mark.parametrize(("kind", "fc_blocks"), [(KINDS[0], 0), (KINDS[1], 2), (KINDS[3], 4)])
def test_embeddings_are_as_wide_as_what_they_meet(kind: dict[str, Any], fc_blocks: int) -> None:
    """2D at Unflatten and D after the first UpBlock, from 1 number of time and 10 of class."""
    with torch.device("meta"):
        linears = [module for module in UNet(8, **kind).modules() if isinstance(module, nn.Linear)]
    widths = [(linear.in_features, linear.out_features) for linear in linears]
    expected = [(1, 16), (16, 16), (1, 8), (8, 8), (10, 16), (16, 16), (10, 8), (8, 8)]
    assert widths == expected[: 2 * fc_blocks]


# --- shapes and errors


@every_kind
@settings(max_examples=5)
@given(width=st.integers(1, 9), batch=st.integers(1, 4), channels=st.integers(1, 4))
def test_the_answer_has_the_shape_of_the_image(kind: dict[str, Any], width: int, batch: int, channels: int) -> None:
    net = UNet(width, in_channels=channels, **kind)
    with torch.no_grad():
        assert net(*inputs(kind, batch, channels)).shape == (batch, channels, 28, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width=0: allowed"),
        ({"width": -4}, "width=-4: allowed"),
        ({"width": 4, "in_channels": 0}, "in_channels=0.*allowed"),
        ({"width": 4, "time": "add", "num_classes": -1}, "num_classes=-1.*allowed"),
        ({"width": 4, "time": "concat"}, "time='concat': allowed are none, add, multiply"),
        ({"width": 4, "num_classes": 10}, "num_classes=10 with time=none.*add or multiply"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(**arguments)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 28, 28), (2, 1, 28, 27), (1, 28, 28), (2, 784)])
def test_another_size_of_image_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"this network takes \(B, 1, 28, 28\)"):
        UNet(2)(torch.zeros(shape))


@every_kind
@pytest.mark.parametrize("given_inputs", [1, 2, 3, "class only"])
def test_what_it_is_conditioned_on_must_be_given_and_nothing_else(
    kind: dict[str, Any], given_inputs: int | str
) -> None:
    x, t, c = inputs(KINDS[3])
    net = UNet(2, **kind).eval()
    arguments = [x, None, c] if given_inputs == "class only" else [x, t, c][:given_inputs]
    if given_inputs == len(inputs(kind)):
        assert net(*arguments).shape == x.shape
        return
    with pytest.raises(ValueError, match=r"was called with (a|no) time and (a|no) class vector"):
        net(*arguments)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_branches_of_the_same_images_answer_as_calls_of_their_own(memory_format: torch.memory_format) -> None:
    """(V B,) times and (V B, K) classes, B images."""
    net = lively(KINDS[3], width=8).to(memory_format=memory_format)  # type: ignore[call-overload]
    x, t = torch.rand(3, 1, 28, 28).double(), torch.rand(9).double()
    c = torch.cat([torch.zeros(3, 10), torch.eye(10)[:6]]).double()
    with torch.no_grad():
        together = net(x, t, c)
        apart = torch.cat([net(x, *each) for each in zip(t.split(3), c.split(3), strict=True)])
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"c of shape \(3, 10\)"):
        net(x, t, c[:3])
    with pytest.raises(ValueError, match=r"t of shape \(4,\)"):
        net(x, torch.rand(4), c)


def test_two_branches_cost_little_more_than_one() -> None:
    """1.56 times: time and class enter after Unflatten, and convolutions of the skips are the same in both."""

    def cost(branches: int) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.rand(2, 1, 28, 28), torch.rand(2 * branches), torch.zeros(2 * branches, 10))
        return counter.get_total_flops()

    net = UNet(64, time="add", num_classes=10).eval()
    assert cost(2) / cost(1) == pytest.approx(1.56, abs=0.005)
