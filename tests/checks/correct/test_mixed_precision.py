"""Mixed precision on the CPU, with and without a GradScaler; skipped steps are how it works."""

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def test_bfloat16_autocast_without_scaling(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.mse_loss(model(inputs).float(), targets)
            loss.backward()
            optimizer.step()


def test_scaled_unscaled_and_clipped(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()


def test_without_clipping(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu")
        for inputs, targets in batches(20):
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


def test_first_steps_skipped_while_the_scale_comes_down(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
        skipped = 0
        for inputs, targets in batches(40):
            optimizer.zero_grad()
            scaler.scale(10 * F.mse_loss(model(inputs), targets)).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            skipped += scaler.get_scale() < before
        assert skipped


def test_one_bad_batch_in_the_middle(correct: Recorded) -> None:
    # float16 overflows now and then: the step is skipped, the scale comes down, training goes on.
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for index, (inputs, targets) in enumerate(batches(30)):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            if index in (11, 12, 24):
                loss = loss * 1e37
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()


def test_accumulation_with_a_scaler(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
        for index, (inputs, targets) in enumerate(batches(24)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.mse_loss(model(inputs).float(), targets) / 4
            scaler.scale(loss).backward()
            if (index + 1) % 4 == 0:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)


def test_one_scaler_for_two_optimizers(correct: Recorded) -> None:
    with correct():
        first, second = mlp(), mlp(hidden=6)
        opt_first = torch.optim.SGD(first.parameters(), lr=0.01)
        opt_second = torch.optim.Adam(second.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        for inputs, targets in batches():
            opt_first.zero_grad()
            opt_second.zero_grad()
            a, b = first(inputs), second(inputs)
            scaler.scale(F.mse_loss(a + b, targets)).backward(retain_graph=True)
            scaler.scale(F.mse_loss(a - b, targets)).backward()
            scaler.unscale_(opt_first)
            nn.utils.clip_grad_norm_(first.parameters(), 1.0)
            scaler.step(opt_first)
            scaler.step(opt_second)
            scaler.update()


def test_a_disabled_scaler(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        for inputs, targets in batches():
            optimizer.zero_grad()
            scaler.scale(F.mse_loss(model(inputs), targets)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()


def test_bfloat16_weights_with_a_step_that_reaches_them(correct: Recorded) -> None:
    with correct():
        model = mlp().to(torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs.bfloat16()), targets.bfloat16()).backward()
            optimizer.step()


def test_float32_master_copies_of_bfloat16_weights(correct: Recorded) -> None:
    with correct():
        model = mlp().to(torch.bfloat16)
        masters = [p.detach().float().clone() for p in model.parameters()]
        optimizer = torch.optim.Adam(masters, lr=1e-3)
        for inputs, targets in batches(20):
            model.zero_grad()
            F.mse_loss(model(inputs.bfloat16()), targets.bfloat16()).backward()
            with torch.no_grad():
                for master, parameter in zip(masters, model.parameters(), strict=True):
                    master.grad = parameter.grad.float()
                optimizer.step()
                for master, parameter in zip(masters, model.parameters(), strict=True):
                    parameter.copy_(master)
