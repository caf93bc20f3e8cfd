"""Frameworks that write the loop themselves, unmodified: the user's line is the one that calls them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from conformance.matrix import Row, Rows, extra, find, hold

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, among themselves

rows = Rows("Frameworks")


def pairs(count: int = 12) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Examples [4] and targets [1]."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, generator=generator), torch.randn(1, generator=generator)) for _ in range(count)]


# transformers


class Sentences(torch.utils.data.Dataset[Any]):
    """Tokens [6], of which the next are to be told."""

    def __init__(self, count: int) -> None:
        self.tokens = torch.randint(0, 16, (count, 6), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Any:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


@rows.row(
    "`transformers.Trainer` (accumulation, clipping, scheduler)",
    "load_state zero_grad backward backward clip step scheduler_step zero_grad",
    *["backward backward clip step scheduler_step zero_grad"] * 3,
    ledger={"applied 1×": 8 * 16},
    bug="the Trainer is given an optimizer over another model",
    code="OT108",
    calls=dict.fromkeys(("load_state", "zero_grad", "backward", "clip", "step", "scheduler_step"), "trainer.train()"),
)
def trainer(broken: bool) -> Any:
    transformers = extra("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model, other = transformers.GPT2LMHeadModel(config), transformers.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW((other if broken else model).parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 1.0, 3)
    options = transformers.TrainingArguments(
        tempfile.gettempdir(),  # where nothing is written
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=4,
        max_grad_norm=1.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=1,
    )
    trainer = transformers.Trainer(model, options, train_dataset=Sentences(16), optimizers=(optimizer, scheduler))
    trainer.train()
    return model, optimizer


# accelerate


@rows.row(
    "`accelerate` (accumulate context, clipping, scheduler)",
    "load_state backward zero_grad backward zero_grad backward clip step scheduler_step zero_grad",
    "backward zero_grad backward zero_grad backward clip step scheduler_step zero_grad",
    ledger={"applied 1×": 6 * 2},
    bug="no `zero_grad`",
    code="OT101",
    calls={"load_state": "accelerator.prepare", "clip": "accelerator.clip_grad_norm_"},
)
def accumulate_context(broken: bool) -> Any:
    accelerate = extra("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=3, cpu=True)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    loader: Iterable[Any] = DataLoader(pairs(), batch_size=2)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    for inputs, targets in loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.mse_loss(model(inputs), targets))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            if not broken:
                optimizer.zero_grad()
    return model, optimizer.optimizer


# lightning

FIT = dict.fromkeys(("load_state", "zero_grad", "backward", "clip", "step", "scheduler_step"), "fit(")


def fit(model: Any, **options: Any) -> None:
    """Two epochs of four batches, with nothing printed."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = extra("lightning").Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, DataLoader(pairs(), batch_size=3))


def automatic_module(unused: bool = False) -> Any:
    """One model, one optimizer, one schedule; `unused` gives the optimizer a layer that is not used."""

    class Automatic(extra("lightning").LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 1)
            self.other = nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            inputs, targets = batch
            return F.mse_loss(self.net(inputs), targets)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam((self.other if unused else self.net).parameters(), lr=0.05)
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)}

    return Automatic()


@rows.row(
    "`lightning` automatic",
    "zero_grad >zero_grad >backward step",
    *[">zero_grad >backward step"] * 2,
    ">zero_grad >backward step scheduler_step",
    *[">zero_grad >backward step"] * 3,
    ">zero_grad >backward step scheduler_step",
    ledger={"applied 1×": 8 * 2},
    bug="`configure_optimizers` takes an unused layer",
    code="OT108",
    calls=FIT,
)
def automatic(broken: bool) -> Any:
    model = automatic_module(unused=broken)
    fit(model)
    return model


@rows.row(
    "`lightning` accumulating and clipping",
    "zero_grad zero_grad backward >backward >clip step",
    "zero_grad backward >backward >clip step scheduler_step",
    "zero_grad backward >backward >clip step",
    "zero_grad backward >backward >clip step scheduler_step",
    ledger={"applied 1×": 8 * 2},
    bug="a hook of the module takes `zero_grad` away",
    code="OT101",
    calls=FIT,
)
def accumulating(broken: bool) -> Any:
    model = automatic_module()
    if broken:
        model.optimizer_zero_grad = lambda *_: None
    fit(model, accumulate_grad_batches=2, gradient_clip_val=1.0)
    return model


@rows.row(
    "`lightning` manual with two optimizers",
    "zero_grad zero_grad backward step zero_grad backward step",
    *["zero_grad backward step zero_grad backward step"] * 7,
    ledger={"applied 1×": 2 * 8 * 2},
    bug="the second optimizer never steps",
    code="OT105",
    calls={"zero_grad": "", "backward": "self.manual_backward(", "step": "optimizer.step()"},
)
def manual(broken: bool) -> Any:
    class Manual(extra("lightning").LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.first, self.second = nn.Linear(4, 1), nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> None:
            inputs, targets = batch
            for net, optimizer in zip((self.first, self.second), self.optimizers(), strict=True):
                optimizer.zero_grad()
                loss = F.mse_loss(net(inputs), targets)
                self.manual_backward(loss)
                if not broken or net is self.first:
                    optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.Adam(self.first.parameters()), torch.optim.SGD(self.second.parameters(), lr=0.05)]

    model = Manual()
    fit(model)
    return model


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
