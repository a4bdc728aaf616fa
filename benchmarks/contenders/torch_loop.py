"""A tuned PyTorch loop: contiguous slices of tensors, fused Adam, a given number of threads."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from harness import article_task
from harness.children import serve, timed

try:
    import torch
except ImportError:
    print("not installed", file=sys.stderr)
    sys.exit(1)


class _Model(torch.nn.Module):
    def __init__(self, weights: str) -> None:
        super().__init__()
        with np.load(weights) as file:
            self.item = torch.nn.Embedding.from_pretrained(torch.tensor(file["item_embedding"]), freeze=False)
            self.user = torch.nn.Embedding.from_pretrained(torch.tensor(file["user_embedding"]), freeze=False)
            layers: list[torch.nn.Module] = []
            for name in ("hidden_1", "hidden_2", "rating"):
                layer = torch.nn.Linear(*file[name].shape)
                layer.weight.data.copy_(torch.tensor(file[name].T))
                layer.bias.data.zero_()
                layers += [layer, torch.nn.ReLU()]
        self.dense = torch.nn.Sequential(*layers[:-1])

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        return self.dense(torch.cat([self.item(item), self.user(user)], dim=1))[:, 0]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "matmul_size" in job:
        return _peak(job, device)
    with np.load(job["rows"]) as file:
        order = file["order"]
        user, item, rating = (
            torch.tensor(file[name][order], device=device) for name in ("user_index", "item_index", "rating")
        )
    model = _Model(job["weights"]).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=article_task.LEARNING_RATE, eps=article_task.EPSILON, fused=True
    )
    batch, num_rows = job["batch"], len(rating)

    def epoch(first_steps: int | None = None) -> list[float]:
        losses = []
        for begin in range(0, (first_steps or num_rows // batch) * batch, batch):
            rows = slice(begin, begin + batch)
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.mse_loss(model(user[rows], item[rows]), rating[rows])
            loss.backward()
            optimizer.step()
            if first_steps:
                losses.append(float(loss))
        if device == "cuda":
            torch.cuda.synchronize()
        return losses

    result = {"losses": epoch(article_task.LOSS_STEPS)} if job["losses"] else {}
    secs = timed(epoch, job["repetitions"])
    return {**result, "threads": torch.get_num_threads(), "samples_per_sec": [num_rows / s for s in secs]}


def _peak(job: dict[str, Any], device: str) -> dict[str, Any]:
    size = job["matmul_size"]
    a, b = torch.rand(2, size, size, device=device)

    def product() -> None:
        (a @ b)[0, 0].item()

    return {"torch": 2 * size**3 / min(timed(product, job["repetitions"]))}


if __name__ == "__main__":
    serve(measure)
