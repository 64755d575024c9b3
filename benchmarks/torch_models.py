"""The benchmark's other side: the library's networks and its train step, in PyTorch.

Written as a PyTorch user would write them for speed: channels_last, fused Adam, in-place activations and, on a GPU,
`torch.compile`. Images are `[N, 3, H, W]` in [0, 1]. Initial values do not change the speed and are PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from astro_gan.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from astro_gan.models.enlarging import sub_pixel_stages
from astro_gan.models.layers import DIV2K_MEAN
from astro_gan.models.vgg import load_vgg
from experiments.super_resolution import generator_fields


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def norm_conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Module:
    return weight_norm(conv(inputs, outputs, size, **options))


def shuffle(x: Tensor, factor: int) -> Tensor:
    return F.pixel_shuffle(x, factor).contiguous(memory_format=torch.channels_last)


def in_float32(module: nn.Module, x: Tensor) -> Tensor:
    """The layers that the library keeps in float32 whatever the precision."""
    with torch.autocast(x.device.type, enabled=False):
        return module(x.float())


def bicubic(x: Tensor, factor: int) -> Tensor:
    # Only with `antialias` (without effect when enlarging) does PyTorch take Keys' a = -0.5, as the library does.
    return F.interpolate(x, scale_factor=factor, mode='bicubic', antialias=True)


def channel_buffer(values: tuple[float, ...]) -> nn.Buffer:
    return nn.Buffer(torch.tensor(values).view(1, -1, 1, 1), persistent=False)


def back_project(output: Tensor, low_res: Tensor, factor: int) -> Tensor:
    """As `astro_gan.models.enlarging.back_project`, but for the border."""
    smaller = F.interpolate(output, low_res.shape[2:], mode='bicubic', antialias=True)
    return output + bicubic(low_res - smaller, factor)


class WDSR(nn.Module):
    """As `astro_gan.models.wdsr.WDSR`."""

    def __init__(
        self,
        *,
        factor: int,
        features: int,
        blocks: int,
        variant: str,
        expansion: int | None,
        low_rank: float,
        bicubic_start: bool,
        back_projection: bool = False,
    ) -> None:
        super().__init__()

        def block() -> nn.Module:
            if variant == 'a':
                wide = features * (expansion or 4)
                return nn.Sequential(norm_conv(features, wide), nn.ReLU(inplace=True), norm_conv(wide, features))
            wide, low = features * (expansion or 6), int(features * low_rank)
            expand, reduce = norm_conv(features, wide, 1), norm_conv(wide, low, 1)
            return nn.Sequential(expand, nn.ReLU(inplace=True), reduce, norm_conv(low, features))

        self.factor, self.back_projection = factor, back_projection
        self.mean = channel_buffer(DIV2K_MEAN)
        self.head = norm_conv(3, features)
        self.blocks = nn.ModuleList(block() for _ in range(blocks))
        self.tail = norm_conv(features, 3 * factor**2)
        self.skip = norm_conv(3, 3 * factor**2, 5, padding_mode='replicate' if bicubic_start else 'zeros')

    def forward(self, x: Tensor) -> Tensor:
        low_res, x = x, (x - self.mean) * 2
        y = self.head(x)
        for block in self.blocks:
            y = y + block(y)
        y = self.tail(y).float() + in_float32(self.skip, x)
        y = shuffle(y, self.factor) / 2 + self.mean
        return back_project(y, low_res, self.factor) if self.back_projection else y


class EDSR(nn.Module):
    """As `astro_gan.models.edsr.EDSR`."""

    def __init__(
        self,
        *,
        factor: int,
        features: int,
        blocks: int,
        residual_scale: float,
        bicubic_start: bool,
        back_projection: bool = False,
    ) -> None:
        super().__init__()

        def block() -> nn.Module:
            return nn.Sequential(conv(features, features), nn.ReLU(inplace=True), conv(features, features))

        self.factor, self.residual_scale, self.bicubic_start = factor, residual_scale, bicubic_start
        self.back_projection = back_projection
        self.stages = sub_pixel_stages(factor)
        self.mean = channel_buffer(DIV2K_MEAN)
        self.head = conv(3, features)
        self.blocks = nn.ModuleList(block() for _ in range(blocks))
        self.body = conv(features, features)
        self.upsample = nn.ModuleList(conv(features, features * stage**2) for stage in self.stages)
        self.tail = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = head = self.head((x - self.mean) * 255)
        for block in self.blocks:
            y = torch.add(y, block(y), alpha=self.residual_scale)
        y = self.body(y) + head
        for layer, stage in zip(self.upsample, self.stages, strict=True):
            y = shuffle(layer(y), stage)
        y = in_float32(self.tail, y) / 255
        y = y + (bicubic(x, self.factor) if self.bicubic_start else self.mean)
        return back_project(y, x, self.factor) if self.back_projection else y


class SRResNet(nn.Module):
    """As `astro_gan.models.srresnet.SRResNet`."""

    def __init__(
        self, *, factor: int, features: int, blocks: int, bicubic_start: bool, back_projection: bool = False
    ) -> None:
        super().__init__()

        def norm() -> list[nn.Module]:
            return [conv(features, features), nn.BatchNorm2d(features)]

        self.factor, self.bicubic_start, self.back_projection = factor, bicubic_start, back_projection
        self.stages = sub_pixel_stages(factor)
        self.head = nn.Sequential(conv(3, features, 9), nn.PReLU(features))
        self.blocks = nn.ModuleList(nn.Sequential(*norm(), nn.PReLU(features), *norm()) for _ in range(blocks))
        self.body = nn.Sequential(*norm())
        self.upsample = nn.ModuleList(conv(features, features * stage**2) for stage in self.stages)
        self.prelus = nn.ModuleList(nn.PReLU(features) for _ in self.stages)
        self.tail = conv(features, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        y = head = self.head(x)
        for block in self.blocks:
            y = y + block(y)
        y = self.body(y) + head
        for layer, prelu, stage in zip(self.upsample, self.prelus, self.stages, strict=True):
            y = prelu(shuffle(layer(y), stage))
        y = in_float32(self.tail, y) / 2
        y = y + (bicubic(x, self.factor) if self.bicubic_start else 0.5)
        return back_project(y, x, self.factor) if self.back_projection else y


class SRGANDiscriminator(nn.Module):
    """As `astro_gan.models.discriminators.SRGANDiscriminator` with batch norm, for crops of one size."""

    def __init__(self, *, features: int, hidden: int, global_pool: bool, crop_size: int) -> None:
        super().__init__()
        layers, inputs = [], 3
        for index in range(8):
            outputs = features * 2 ** (index // 2)
            layers.append(conv(inputs, outputs, stride=1 + index % 2, bias=index == 0))
            if index > 0:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = outputs
        if global_pool:
            layers.append(nn.AdaptiveAvgPool2d(1))
        else:
            inputs *= (-(-crop_size // 16)) ** 2
        layers += [nn.Flatten(), nn.Linear(inputs, hidden), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.logit = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return in_float32(self.logit, self.layers(x * 2 - 1))


class VGGFeatures(nn.Module):
    """As `astro_gan.models.vgg.vgg_features`, with the same weights, frozen."""

    def __init__(self, content: ConfigDict) -> None:
        super().__init__()
        layers, block = [], '1'
        params = load_vgg(content.network, content.vgg_file or None, content.layer)
        for name in sorted(params):
            if name[4] != block:
                block = name[4]
                layers.append(nn.MaxPool2d(2))
            kernel = torch.from_numpy(np.ascontiguousarray(params[name]['kernel'].transpose(3, 2, 0, 1)))
            layer = conv(kernel.shape[1], kernel.shape[0])
            layer.load_state_dict({'weight': kernel, 'bias': torch.from_numpy(params[name]['bias'])})
            layers += [layer, nn.ReLU(inplace=True)]
        self.mean, self.std = channel_buffer(IMAGENET_MEAN), channel_buffer(IMAGENET_STD)
        self.layers = nn.Sequential(*layers).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers((x - self.mean) / self.std).float()


GENERATORS: dict[str, type[nn.Module]] = {'wdsr': WDSR, 'edsr': EDSR, 'srresnet': SRResNet}
PIXEL = {'l1': F.l1_loss, 'mse': F.mse_loss}


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class Trainer:
    """One stage's networks, optimizers and step; the order of the work is that of `astro_gan.train`.

    The library's step also watches for non-finite values and reports gradient norms; this one does not.
    """

    def __init__(self, config: ConfigDict, stage_name: str, device: str) -> None:
        self.config, self.stage, self.device = config, config[stage_name], device
        self.adversarial = stage_name == 'adversarial'
        self.generator = self._place(GENERATORS[config.generator.name](**generator_fields(config)))
        self.discriminator = self.vgg = None
        self.generate, self.average = self._compile(self.generator), self._average()
        self.generator_optimizer = self._adam(self.generator, self.stage.learning_rate)
        if self.adversarial:
            if (config.discriminator.norm, self.stage.loss) != ('batch', 'minimax'):
                raise ValueError('the PyTorch side knows batch norm and the minimax loss only')
            names = ('features', 'hidden', 'global_pool')
            fields = {name: config.discriminator[name] for name in names}
            self.discriminator = self._place(SRGANDiscriminator(**fields, crop_size=config.dataset.crop_size))
            self.discriminate = self._compile(self.discriminator)
            self.discriminator_optimizer = self._adam(self.discriminator, self.stage.discriminator_learning_rate)
        if self.stage.feature_weight:
            self.vgg = self._compile(self._place(VGGFeatures(config.content)))

    def _place(self, module: nn.Module) -> nn.Module:
        return module.to(self.device, memory_format=torch.channels_last).train()

    def _compile(self, module: nn.Module) -> Any:
        return torch.compile(module) if self.device == 'cuda' else module

    def _adam(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        betas = (self.stage.beta1, self.stage.beta2)
        return torch.optim.Adam(module.parameters(), rate, betas, fused=True)

    def _average(self) -> AveragedModel:
        return AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(self.stage.ema_decay))

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == 'bfloat16'
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=enabled)

    def step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step on `[N, H, W, 3]` host tensors ('input', 'target'); returns the losses, on the device."""
        # Images arrive as [N, H, W, 3]: as [N, 3, H, W] they are channels_last already.
        low, high = (batch[key].to(self.device, non_blocking=True).permute(0, 3, 1, 2) for key in ('input', 'target'))
        terms = {}
        with self._autocast():
            prediction = self.generate(low)
        if self.adversarial:
            terms['discriminator/loss'] = self._update_discriminator(high, prediction.detach())
        terms['generator/loss'] = self._update_generator(high, prediction)
        return terms

    def _update_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        with self._autocast():
            real_logits, fake_logits = self.discriminate(real), self.discriminate(fake)
        loss = cross_entropy(real_logits, self.stage.real_label) + cross_entropy(fake_logits, 0.0)
        self._descend(loss, self.discriminator_optimizer)
        return loss.detach()

    def _update_generator(self, target: Tensor, prediction: Tensor) -> Tensor:
        stage, content = self.stage, self.config.content
        loss = stage.pixel_weight * PIXEL[stage.pixel_loss](prediction, target)
        if self.vgg is not None:
            with self._autocast():
                fake = self.vgg(prediction)
                with torch.no_grad():
                    real = self.vgg(target)
            loss = loss + stage.feature_weight * F.mse_loss(content.scale * fake, content.scale * real)
        if self.adversarial:
            self.discriminator.requires_grad_(False)  # spares its weight gradients
            with self._autocast():
                logits = self.discriminate(prediction)
            loss = loss + stage.adversarial_weight * cross_entropy(logits, 1.0)
        self._descend(loss, self.generator_optimizer)
        if self.adversarial:
            self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        return loss.detach()

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
