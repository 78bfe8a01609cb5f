"""Training of sparse coding models by a plain loop, which follows Evtimova & LeCun's description step by step."""

# models and layers are unions
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOptionalMemberAccess=false, reportReturnType=false

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sparsecode.data import Splits
from sparsecode.models.iterative import IterativeModel

# lambda, beta, gamma, eta, learning rates of decoder and encoder, as the scripts have them
CONSTANTS = {
    "mnist-sdl": (0.005, 0.0, 1.0, 1.0, 1e-3, 3e-4),
    "mnist-vdl": (0.02, 10.0, 5.0, 0.5, 3e-4, 1e-4),
    "mnist-vdl-nl": (0.01, 10.0, 100.0, 0.5, 3e-4, 1e-4),
}


class Images(Dataset[torch.Tensor]):
    """One image at a time: decoded, to a tensor in [0, 1], standardised."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = (x * 255).round().to(torch.uint8).numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        image = Image.fromarray(self.x[i, 0], mode="L").resize((28, 28))
        pixels = torch.from_numpy(np.array(image, copy=True)[None]).float().div(255)
        return (pixels - 0.1307) / 0.3081


class Encoder(nn.Module):
    """LISTA of three iterations."""

    def __init__(self, pixels: int, codes: int) -> None:
        super().__init__()
        self.W, self.S = nn.Linear(pixels, codes), nn.Linear(codes, codes, bias=False)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        drive = self.W(y.flatten(1))
        z = torch.relu(drive)
        for _ in range(3):
            z = torch.relu(drive + self.S(z))
        return z


class PlainLoop:
    """The training that ours is compared with."""

    def __init__(self, name: str, start: IterativeModel, splits: Splits) -> None:
        self.lam, self.beta, self.gamma, self.eta, lr_d, lr_e = CONSTANTS[name]
        self.data = Images(splits.train.x)
        decoder = start.decoder
        if hasattr(decoder, "atoms"):
            layer = nn.Linear(128, 784, bias=False)
            layer.weight.data = decoder.atoms.detach().T.clone()
            self.decoder: nn.Module = layer
        else:
            hidden, out = nn.Linear(128, 1024), nn.Linear(1024, 784, bias=False)
            hidden.weight.data, out.weight.data = decoder.hidden.detach().T.clone(), decoder.out.detach().T.clone()
            hidden.bias.data = decoder.bias.detach().clone()
            self.decoder = nn.Sequential(hidden, nn.ReLU(), out)
        self.encoder = Encoder(784, 128)
        self.encoder.W.weight.data = start.encoder.weight.detach().clone()
        self.encoder.W.bias.data = start.encoder.bias.detach().clone()
        self.encoder.S.weight.data = start.encoder.lateral.detach().clone()
        self.optimisers = (
            torch.optim.Adam(self.decoder.parameters(), lr=lr_d),
            torch.optim.Adam(self.encoder.parameters(), lr=lr_e),
        )
        self.unit_norm = not self.beta
        self.steps: list[int] = []

    def smooth(self, y: torch.Tensor, z: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        total = (y - self.decoder(z)).square().mean(dim=1).sum()
        if self.beta:
            total = total + self.beta * torch.relu(0.5 - z.std(dim=0)).square().sum()
        return total + self.gamma * (z - predicted).square().mean(dim=1).sum()

    def infer(self, y: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        z = momentum_point = predicted.clone()
        active, t = torch.ones(len(y), 1), 1.0
        taken = 0
        while taken < 200:
            taken += 1
            variable = nn.Parameter(momentum_point.clone())
            gradient = torch.autograd.grad(self.smooth(y, variable, predicted), variable)[0]
            new = torch.relu(momentum_point - active * self.eta * gradient - active * self.eta * self.lam)
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            momentum_point = new + (t - 1) / following * (new - z)
            change = (new - z).norm(dim=1) / z.norm(dim=1)
            active = (~(change < 1e-3)).float()[:, None]
            z, t = new, following
            if not active.any():
                break
        self.steps.append(taken)
        return z.detach()

    def train(self, iterations: int) -> None:
        loader = DataLoader(self.data, batch_size=250, shuffle=True, drop_last=True)
        done = 0
        while done < iterations:
            for y in loader:
                self.iteration(y.flatten(1))
                done += 1
                if done == iterations:
                    break

    def iteration(self, y: torch.Tensor) -> dict[str, float]:
        decoder_step, encoder_step = self.optimisers
        predicted = self.encoder(y)
        for p in self.decoder.parameters():
            p.requires_grad_(False)
        z = self.infer(y, predicted.detach())
        for p in self.decoder.parameters():
            p.requires_grad_(True)
        out = self.decoder(z)
        loss = (y - out).square().mean()
        decoder_step.zero_grad()
        loss.backward()
        decoder_step.step()
        if self.unit_norm:
            with torch.no_grad():
                for layer in (m for m in self.decoder.modules() if isinstance(m, nn.Linear)):
                    layer.weight.div_(layer.weight.norm(dim=0))
        amortise = (predicted - z).square().mean()
        encoder_step.zero_grad()
        amortise.backward()
        encoder_step.step()
        with torch.no_grad():
            error = ((y - out) * 0.3081).square().mean(dim=1)
            return {
                "loss": loss.item(),
                "amortise": amortise.item(),
                "psnr": (10 * torch.log10(1 / error)).mean().item(),
                "zeros": (z == 0).float().mean().item(),
                "energy": (self.smooth(y, z, predicted) + self.lam * z.abs().sum()).item(),
            }

    def energy(self, y: torch.Tensor) -> float:
        """The mean energy of the codes that its rule ends at, in our units: 1/2 |y - decode(z)|^2 and what belongs to it."""
        with torch.no_grad():
            predicted = self.encoder(y)
        z = self.infer(y, predicted)
        with torch.no_grad():
            total = self.smooth(y, z, predicted) + self.lam * z.abs().sum()
        return y.shape[1] / 2 * total.item() / len(y)

    def into(self, model: IterativeModel) -> IterativeModel:
        """The weights put into a model of ours, to be scored alike."""
        tensors = model.state_dict()
        if isinstance(self.decoder, nn.Linear):
            tensors["decoder.atoms"] = self.decoder.weight.detach().T.contiguous()
        else:
            tensors["decoder.hidden"] = self.decoder[0].weight.detach().T.contiguous()
            tensors["decoder.bias"] = self.decoder[0].bias.detach()
            tensors["decoder.out"] = self.decoder[2].weight.detach().T.contiguous()
        tensors["encoder.weight"], tensors["encoder.bias"] = (
            self.encoder.W.weight.detach(),
            self.encoder.W.bias.detach(),
        )
        tensors["encoder.lateral"] = self.encoder.S.weight.detach()
        model.load_state_dict(tensors)
        return model.eval()
