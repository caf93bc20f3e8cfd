"""What the simulated device promises: each function without arguments is run in a process of its own."""

from __future__ import annotations

import copy
import ctypes
import functools
import io
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from tests.simulated import install

accelerator = install()
DEVICE = torch.device("simulated")
SIZE = 1000
LATE = 0.2  # seconds in which a busy machine comes to run the next line, too


def same(one: Tensor, other: Tensor) -> None:
    """The same bits, in the same shape, whichever device they are on."""
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.stride() == other.stride()
    bits = [torch.cat([each.detach().cpu().resolve_conj().flatten()]).view(torch.uint8) for each in (one, other)]
    assert torch.equal(*bits), (one, other)


def on_both(compute: Callable[[torch.device], list[Tensor]]) -> None:
    """Computed from the same seed, it is the same on the CPU and on the device."""
    found = []
    for device in torch.device("cpu"), DEVICE:
        torch.manual_seed(0)
        found.append(compute(device))
    for expected, value in zip(*found, strict=True):
        assert value.device.type == DEVICE.type
        same(expected, value)


# ----------------------------------------------------------------------------------------------------------- training


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.project = nn.Linear(8, 24)
        self.out = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        query, key, value = self.project(self.norm(hidden)).view(*tokens.shape, 3, 2, 4).permute(2, 0, 3, 1, 4)
        with sdpa_kernel(SDPBackend.MATH):  # the CPU has a fused kernel of its own, which rounds differently
            found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(hidden + found.transpose(1, 2).reshape(hidden.shape))  # type: ignore[no-any-return]


def perceptron() -> tuple[nn.Module, Tensor, Tensor]:
    layers = nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(16), nn.Linear(16, 11)
    return nn.Sequential(*layers), torch.randn(9, 6), torch.randint(11, (9,))


def convolutions() -> tuple[nn.Module, Tensor, Tensor]:
    first = nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.GELU(), nn.MaxPool2d(2)
    second = nn.Conv2d(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 11)
    return nn.Sequential(*first, *second), torch.randn(5, 1, 12, 12), torch.randint(11, (5,))


def attention() -> tuple[nn.Module, Tensor, Tensor]:
    return Attention(), torch.randint(11, (3, 7)), torch.randint(11, (3, 7))


def train(
    make: Callable[[], tuple[nn.Module, Tensor, Tensor]],
    optimize: Callable[..., torch.optim.Optimizer],
    device: torch.device,
) -> list[Tensor]:
    """Everything that four iterations leave behind."""
    model, inputs, targets = make()
    parameters = list(model.parameters())
    model.to(device)
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    optimizer = optimize(parameters, lr=0.01)
    for number in range(4):
        optimizer.zero_grad(set_to_none=number % 2 == 0)
        loss = functional.cross_entropy(model(inputs.to(device)).flatten(0, -2), targets.to(device).flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    gradients = [p.grad for p in parameters if p.grad is not None]
    assert len(gradients) == len(parameters)
    left = [loss.detach(), *parameters, *gradients, *model.buffers(), *kept]
    return [value.to(device) for value in left]  # Adam counts its steps on the CPU


def training_is_the_same_as_on_the_cpu() -> None:
    sgd = functools.partial(torch.optim.SGD, momentum=0.9)
    optimizers: list[Callable[..., torch.optim.Optimizer]] = [sgd, torch.optim.Adam, torch.optim.AdamW]
    for make in perceptron, convolutions, attention:
        for optimizer in optimizers:
            for how in {}, {"foreach": False}, {"foreach": True}, {"fused": True}:
                on_both(functools.partial(train, make, functools.partial(optimizer, **how)))


def backward_runs_on_the_stream_of_forward() -> None:
    stream = accelerator.Stream()
    weight = torch.ones(3, device=DEVICE, requires_grad=True)
    seen = []

    def look(gradient: Tensor) -> None:
        seen.append((accelerator.current_stream(), threading.get_ident()))

    with accelerator.stream(stream):
        product = weight * 2
        product.register_hook(look)  # type: ignore[no-untyped-call]
        total = product.sum()
    total.backward()  # type: ignore[no-untyped-call]
    [(used, thread)] = seen
    assert used == stream != accelerator.current_stream()
    assert thread != threading.get_ident()


def modules_are_copied_saved_and_loaded() -> None:
    linear = nn.Linear(3, 4)
    model = nn.Sequential(linear, nn.BatchNorm1d(4)).to(DEVICE)
    twin = copy.deepcopy(model)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert one.data_ptr() != other.data_ptr()
        same(one, other)
    twin.load_state_dict({name: torch.zeros_like(value, device="cpu") for name, value in model.state_dict().items()})
    assert all(parameter.eq(0).all() for parameter in twin.parameters())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    for where in None, "cpu":
        file.seek(0)
        loaded = torch.load(file, map_location=where)["0.weight"]
        assert loaded.device.type == (where or DEVICE.type)
        same(loaded, linear.weight)
    parameters = list(model.parameters())
    assert all(parameter is before for parameter, before in zip(model.cpu().parameters(), parameters, strict=True))
    assert all(parameter.is_cpu for parameter in parameters)


def checkpoints_and_mixed_precision_work() -> None:
    linear = nn.Linear(3, 3)
    model = nn.Sequential(linear, nn.Dropout()).to(DEVICE)
    inputs = torch.ones(2, 3, device=DEVICE, requires_grad=True)
    for reentrant in True, False:
        checkpoint(model, inputs, use_reentrant=reentrant).sum().backward()
    state = torch.get_rng_state()
    with torch.random.fork_rng(device_type=DEVICE.type):
        torch.rand(1, device=DEVICE)
    assert torch.equal(torch.get_rng_state(), state)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(DEVICE.type)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        out = model(inputs)
        assert out.dtype == torch.bfloat16
        assert out.softmax(-1).dtype == torch.float32
    before = linear.weight.detach().clone()
    scaler.scale(out.sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(linear.weight, before)


# ---------------------------------------------------------------------------------------------------------- operations

UNARY: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.clone(),
    lambda x: x.detach(),
    lambda x: x.contiguous(),
    lambda x: x.resolve_conj(),
    lambda x: x.conj(),
    lambda x: x.conj().clone(),
    lambda x: x.conj().resolve_conj(),
    lambda x: x.to(torch.complex128),
    lambda x: torch.isfinite(x),
    lambda x: x.sum(),
    lambda x: torch.count_nonzero(x),
    lambda x: x != x,
    lambda x: torch.stack([x, x]),
    lambda x: torch.cat([x.reshape(-1), x.reshape(-1)]),
    lambda x: x.reshape(-1).view(torch.uint8),
    lambda x: x.reshape(-1).expand(2, x.numel()),
    lambda x: x.reshape(-1)[::2],
    lambda x: torch.empty_strided(x.size(), x.stride(), dtype=x.dtype, device=x.device).copy_(x),
    lambda x: torch.zeros_like(x).copy_(x),
]
MATRIX: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.t(),
    lambda x: x.t().contiguous(),
    lambda x: x.unfold(0, 2, 1),
    lambda x: torch.index_select(x, 0, torch.tensor([2, 0], device=x.device)),
    lambda x: x[torch.tensor([2, 0])],
    lambda x: torch.empty_like(x.t()).copy_(x.t()),
]
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.complex64, torch.int64, torch.uint8, torch.bool),
]


def operations_are_the_same_as_on_the_cpu() -> None:
    for dtype in DTYPES:
        for shape in (), (0,), (3, 4), (2, 0, 3):
            values = torch.randn(shape, dtype=torch.float64) * 3
            host = values > 0 if dtype is torch.bool else values.to(dtype)
            moved = host.to(DEVICE)
            same(moved, host)
            for compute in UNARY + MATRIX * (len(shape) == 2 and host.numel() > 0):
                found = compute(moved)
                assert found.device.type == DEVICE.type
                same(compute(host), found)
            if host.numel() and not dtype.is_complex:
                for one, other in zip(torch.aminmax(host), torch.aminmax(moved), strict=True):
                    same(one, other)
            if dtype.is_floating_point:
                for one, other in zip(torch._foreach_norm([host] * 3), torch._foreach_norm([moved] * 3), strict=True):
                    same(one, other)
            copies = [torch.zeros_like(moved) for _ in range(2)]
            torch._foreach_copy_(copies, [moved, moved])
            for each in copies:
                same(each, host)


def shapes_and_storages_change_in_place() -> None:
    numbers = torch.arange(12.0).view(3, 4)
    crossed = torch.empty(4, 3, dtype=torch.float16, device=DEVICE).t().copy_(numbers)
    assert crossed.stride() == (1, 3)
    same(torch.empty(3, 4, dtype=torch.float64).copy_(crossed), numbers.double())
    out = torch.empty(0, device=DEVICE)
    torch.add(numbers.to(DEVICE), 1, out=out)
    same(out, numbers + 1)
    grown = torch.ones(2, device=DEVICE).resize_(SIZE)
    assert grown.shape == (SIZE,)
    assert grown[:2].tolist() == [1, 1]
    view = out.view(-1)
    assert view.untyped_storage().data_ptr() == out.untyped_storage().data_ptr()
    view.zero_()
    assert not out.any()
    assert torch.ones(3, device=DEVICE).unsqueeze_(0).shape == (1, 3)
    taken = torch.empty(0, device=DEVICE).set_(view.untyped_storage(), 2, (2,), (1,))
    taken.fill_(7)
    assert view.tolist() == [0, 0, 7, 7, *[0] * 8]
    view.untyped_storage().resize_(0)
    view.untyped_storage().resize_(48)
    assert len(view.tolist()) == 12


def kernels_want_all_tensors_on_the_device() -> None:
    ones = torch.ones(3, device=DEVICE)
    assert (ones * torch.tensor(2.0)).tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="on the same device"):
        ones + torch.ones(3)


# ------------------------------------------------------------------------------------------------- streams and memory


def names_are_those_of_an_accelerator() -> None:
    assert torch.get_device_module("simulated") is accelerator
    assert torch.accelerator.is_available()
    assert torch.accelerator.current_accelerator() == DEVICE
    assert torch.accelerator.current_stream() == accelerator.current_stream() == accelerator.default_stream()
    stream = accelerator.Stream(device=torch.device("simulated", 0))
    with accelerator.stream(stream), accelerator.device(0):
        assert accelerator.current_stream(0) == stream
    with accelerator.stream(None), stream:
        assert accelerator.current_stream() == stream
    assert accelerator.current_stream() != stream
    assert install() is accelerator
    pinned = torch.empty(SIZE, dtype=torch.uint8, pin_memory=True)
    assert pinned.is_pinned()
    assert pinned[3:].is_pinned()
    assert torch.ones(3).pin_memory().is_pinned()
    ones = torch.ones(3, device=DEVICE)
    assert not ones.is_pinned()
    assert not torch.ones(3).is_pinned()
    assert ones.to("cpu", non_blocking=True).is_pinned()
    assert repr(ones) == "tensor([1., 1., 1.], device='simulated:0')"


def who_does_not_wait_for_a_copy_is_seen_in_it() -> None:
    accelerator.set_delay(LATE)
    values = torch.zeros(SIZE, device=DEVICE)
    pinned = torch.empty(SIZE, pin_memory=True)
    side = accelerator.Stream()
    with accelerator.stream(side):
        pinned.copy_(values, non_blocking=True)
    assert not side.query()
    values.add_(1)
    side.synchronize()
    assert pinned.eq(1).all()

    side.wait_stream(accelerator.current_stream())
    with accelerator.stream(side):
        pinned.copy_(values, non_blocking=True)
    done = side.record_event()
    assert not done.query()
    accelerator.current_stream().wait_event(done)
    values.add_(1)
    assert done.query()
    assert pinned.eq(1).all()


def copies_on_one_stream_keep_their_order() -> None:
    accelerator.set_delay(LATE)
    pinned = torch.ones(SIZE).pin_memory()
    values = pinned.to(DEVICE, non_blocking=True)
    twin = torch.empty_like(values).copy_(values)
    back = torch.empty(SIZE, dtype=torch.float64, pin_memory=True).copy_(twin[:1], non_blocking=True)
    accelerator.synchronize()
    assert back.eq(1).all()
    values = pinned.to(DEVICE, non_blocking=True)
    pinned.zero_()
    assert values.eq(0).all()


def an_event_recorded_again_is_another() -> None:
    accelerator.set_delay(LATE)
    values, pinned = torch.ones(SIZE, device=DEVICE), torch.empty(SIZE, pin_memory=True)
    event, side = accelerator.Event(enable_timing=True), accelerator.Stream()
    assert event.query()
    event.record()
    event.synchronize()
    start = accelerator.Event(enable_timing=True)
    start.record()
    pinned.copy_(values, non_blocking=True)
    event.record()
    assert not event.query()
    event.wait(side)
    assert not side.query()
    event.synchronize()
    assert start.elapsed_time(event) >= 1


def memory_is_scribbled_over_unless_recorded_on_the_stream() -> None:
    accelerator.set_delay(LATE)
    for recorded in False, True:
        values, pinned = torch.ones(SIZE, device=DEVICE), torch.empty(SIZE, pin_memory=True)
        side = accelerator.Stream()
        with accelerator.stream(side):
            pinned.copy_(values, non_blocking=True)
        if recorded:
            values.record_stream(side)
        address = values.data_ptr()
        del values
        other = torch.empty(SIZE, device=DEVICE)
        assert (other.data_ptr() == address) == (not recorded)
        side.synchronize()
        assert pinned.eq(1).all() == recorded
        assert pinned.view(torch.uint8).eq(0xA5).all() != recorded
        del other


def memory_is_free_in_the_order_of_its_own_stream() -> None:
    accelerator.set_delay(LATE)
    values = torch.ones(SIZE, device=DEVICE)
    pinned = values.to("cpu", non_blocking=True)
    del values
    zeros = torch.zeros(SIZE, device=DEVICE)
    accelerator.synchronize()
    assert pinned.eq(1).all()
    assert zeros.eq(0).all()


def pinned_memory_stays_until_the_copy_is_through() -> None:
    accelerator.set_delay(LATE)
    values = torch.ones(SIZE, device=DEVICE)
    pinned = values.to("cpu", non_blocking=True)
    address = pinned.data_ptr()
    del pinned
    assert torch.empty(SIZE, pin_memory=True).data_ptr() != address
    accelerator.synchronize()
    assert torch.empty(SIZE, pin_memory=True).data_ptr() == address


def waits_are_counted_by_thread() -> None:
    values, pinned = torch.ones(SIZE, device=DEVICE), torch.empty(SIZE, pin_memory=True)
    mask, where = values > 0, torch.tensor([1, 2], device=DEVICE)
    side, event = accelerator.Stream(), accelerator.Event()

    def counted(act: Callable[[], Any]) -> int:
        before = accelerator.waits()
        act()
        return int(accelerator.waits() - before)

    def elsewhere() -> None:
        thread = threading.Thread(target=values.cpu)
        thread.start()
        thread.join()

    def queue_all() -> None:
        pinned.copy_(values.mul(2).sum(), non_blocking=True)
        values.copy_(pinned, non_blocking=True)
        values.clone()[where].add_(1)
        values.copy_(torch.ones(SIZE), non_blocking=True)
        event.record()
        event.query()
        side.wait_event(event)
        side.wait_stream(accelerator.current_stream())
        side.query()
        values.record_stream(side)
        torch._foreach_norm([values, values])

    for none in queue_all, elsewhere:
        assert counted(none) == 0
    one: list[Callable[[], Any]] = [
        lambda: values[0].item(),
        lambda: bool(values[0]),
        lambda: values.cpu(),
        lambda: values.tolist(),
        lambda: pinned.copy_(values),
        lambda: values.copy_(pinned),
        lambda: torch.empty(SIZE).copy_(values, non_blocking=True),
        lambda: torch.equal(values, values + 1),
        lambda: values.nonzero(),
        lambda: values[mask],
        lambda: side.synchronize(),
        lambda: event.synchronize(),
        lambda: accelerator.synchronize(),
    ]
    for number, each in enumerate(one):
        assert counted(each) == 1, number


def the_delay_can_be_set() -> None:
    values, pinned = torch.ones(SIZE, device=DEVICE), torch.empty(SIZE, pin_memory=True)
    start, end = (accelerator.Event(enable_timing=True) for _ in range(2))
    accelerator.set_delay(LATE)
    start.record()
    pinned.copy_(values, non_blocking=True)
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) >= LATE * 1000


def many_threads_may_use_it() -> None:
    accelerator.set_delay(0)
    wrong: list[int] = []

    def work(number: int) -> None:
        with accelerator.stream(accelerator.Stream()):
            for size in range(1, 300):
                values = torch.full((size,), float(number), device=DEVICE)
                pinned = values.clone().to("cpu", non_blocking=True)
                done = accelerator.current_stream().record_event()
                del values
                done.synchronize()
                if not pinned.eq(number).all():
                    wrong.append(size)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def memory_runs_out() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(3 << 30, dtype=torch.uint8, device=DEVICE)
    for _ in range(4):
        torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)[0] = 1


def the_process_ends_with_copies_under_way() -> None:
    accelerator.set_delay(LATE)
    kept.append(torch.ones(SIZE, device=DEVICE).to("cpu", non_blocking=True))


kept: list[Tensor] = []


def reading_its_memory_from_the_host_traps() -> None:
    values = torch.ones(3, device=DEVICE)
    child = os.fork()
    if not child:
        ctypes.string_at(values.data_ptr(), 4)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
