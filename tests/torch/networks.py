"""Small instances of common networks in plain torch, with random weights.

`NETWORKS` maps a name to a function that makes the network and to the shape of its input, without the batch.
`compile_exports.py` exports and compiles them.
"""

import torch
from torch import nn

IMAGE = (3, 16, 16)


class Branches(nn.Module):
    """Gives one input to several branches and joins what they return: by concatenation, by sum, or by product."""

    def __init__(self, join, *branches):
        super().__init__()
        self.join, self.branches = join, nn.ModuleList(branches)

    def forward(self, x):
        results = [branch(x) for branch in self.branches]
        if self.join == "concat":
            return torch.cat(results, 1)
        total = results[0]
        for result in results[1:]:
            total = total + result if self.join == "sum" else total * result
        return total


class Function(nn.Module):
    """A function of tensors as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def residual(*layers, shortcut=None):
    return Branches("sum", nn.Sequential(*layers), shortcut or nn.Identity())


def conv_norm(inputs, outputs, size=3, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def conv(inputs, outputs, size=3, activation=nn.ReLU, stride=1, groups=1):
    return [*conv_norm(inputs, outputs, size, stride, groups), activation()]


def classifier(channels, classes=10):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def logistic_regression():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 10))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def mlp_tanh_sigmoid():
    return nn.Sequential(nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 16), nn.Sigmoid(), nn.Linear(16, 4))


def polynomial():
    square = lambda: Function(lambda x: x**2)
    return nn.Sequential(nn.Conv2d(3, 4, 5, 2), square(), nn.Flatten(), nn.Linear(144, 32), square(), nn.Linear(32, 10))


def lenet(pool):
    features = [nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), pool(2), nn.Conv2d(6, 16, 5), nn.ReLU(), pool(2)]
    dense = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*features, nn.Flatten(), *dense)


def vgg():
    features = [*conv(3, 8), *conv(8, 8), nn.AvgPool2d(2), *conv(8, 16), nn.AvgPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))


def resnet_basic():
    first = residual(*conv(8, 8), *conv_norm(8, 8))
    shortcut = nn.Sequential(*conv_norm(8, 16, 1, 2))
    second = residual(*conv(8, 16, stride=2), *conv_norm(16, 16), shortcut=shortcut)
    return nn.Sequential(*conv(3, 8), first, nn.ReLU(), second, nn.ReLU(), *classifier(16))


def resnet_preactivation():
    half = lambda: [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, bias=False)]
    block = lambda: residual(*half(), *half())
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), block(), block(), nn.BatchNorm2d(8), nn.ReLU(), *classifier(8))


def resnet_bottleneck():
    def block(inputs, inner, outputs):
        layers = [*conv(inputs, inner, 1), *conv(inner, inner), *conv_norm(inner, outputs, 1)]
        shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1)) if inputs != outputs else None
        return residual(*layers, shortcut=shortcut)

    return nn.Sequential(*conv(3, 8), block(8, 4, 16), nn.ReLU(), block(16, 4, 16), nn.ReLU(), *classifier(16))


def densenet():
    def layer(inputs, growth):
        new = [nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)]
        return Branches("concat", nn.Identity(), nn.Sequential(*new))

    transition = [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.AvgPool2d(2)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), layer(8, 4), layer(12, 4), *transition, *classifier(8))


def squeeze_excite(channels, activation, gate):
    weights = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), activation(), nn.Conv2d(4, channels, 1), gate()]
    return Branches("product", nn.Identity(), nn.Sequential(*weights))


def inverted(inputs, outputs, activation, *middle):
    inner = 2 * inputs
    layers = [*conv(inputs, inner, 1, activation), *conv(inner, inner, 3, activation, groups=inner), *middle]
    return [*layers, *conv_norm(inner, outputs, 1)]


def mobilenet_v2():
    blocks = [residual(*inverted(8, 8, nn.ReLU6)), *inverted(8, 12, nn.ReLU6)]
    return nn.Sequential(*conv(3, 8, activation=nn.ReLU6, stride=2), *blocks, *classifier(12))


def mobilenet_v3():
    excite = squeeze_excite(16, nn.ReLU, nn.Hardsigmoid)
    block = residual(*inverted(8, 8, nn.Hardswish, excite))
    return nn.Sequential(*conv(3, 8, activation=nn.Hardswish, stride=2), block, *classifier(8))


def efficientnet():
    block = residual(*inverted(8, 8, nn.SiLU, squeeze_excite(16, nn.SiLU, nn.Sigmoid)))
    return nn.Sequential(*conv(3, 8, activation=nn.SiLU, stride=2), block, *classifier(8))


class ShuffleUnit(nn.Module):
    """Half of the channels pass through; then the two halves are interleaved."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        depthwise = conv_norm(half, half, groups=half)
        self.branch = nn.Sequential(*conv(half, half, 1), *depthwise, *conv(half, half, 1))

    def forward(self, x):
        kept, changed = x.chunk(2, 1)
        x = torch.cat([kept, self.branch(changed)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet():
    return nn.Sequential(*conv(3, 8, stride=2), ShuffleUnit(8), ShuffleUnit(8), *classifier(8))


def squeezenet():
    def fire(inputs, squeezed, expanded):
        one = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        three = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())
        return [nn.Conv2d(inputs, squeezed, 1), nn.ReLU(), Branches("concat", one, three)]

    head = [nn.Conv2d(16, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), *fire(8, 4, 8), *fire(16, 4, 8), *head)


def inception():
    pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), *conv(8, 4, 1))
    three = nn.Sequential(*conv(8, 4, 1), *conv(4, 4))
    five = nn.Sequential(*conv(8, 4, 1), *conv(4, 4, 5))
    mixed = Branches("concat", nn.Sequential(*conv(8, 4, 1)), three, five, pool)
    return nn.Sequential(*conv(3, 8, stride=2), mixed, *classifier(16))


def convnext():
    class Block(nn.Module):
        """Depthwise convolution, LayerNorm over channels, and two dense layers per pixel."""

        def __init__(self, channels):
            super().__init__()
            self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
            dense = [nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)]
            self.mlp = nn.Sequential(nn.LayerNorm(channels), *dense)

        def forward(self, x):
            return x + self.mlp(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), Block(8), *classifier(8))


def unet(up):
    inner = nn.Sequential(nn.AvgPool2d(2), *conv(4, 8), *up)
    return nn.Sequential(*conv(3, 4), Branches("concat", nn.Identity(), inner), *conv(8, 4), nn.Conv2d(4, 1, 1))


def unet_transposed():
    return unet([nn.ConvTranspose2d(8, 4, 2, 2)])


def unet_upsampled():
    return unet([nn.Upsample(scale_factor=2), nn.Conv2d(8, 4, 3, padding=1)])


def super_resolution():
    features = [nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*features, nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2))


def autoencoder():
    encoder = [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 16), nn.ReLU()]
    decoder = [nn.Linear(16, 256), nn.ReLU(), nn.Unflatten(1, (4, 8, 8)), nn.ConvTranspose2d(4, 3, 2, 2), nn.Sigmoid()]
    return nn.Sequential(*encoder, *decoder)


def cnn_1d():
    features = [nn.Conv1d(2, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.AvgPool1d(2)]
    second = [nn.Conv1d(8, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(1)]
    return nn.Sequential(*features, *second, nn.Flatten(), nn.Linear(16, 5))


def mixer(norm):
    swap = lambda: Function(lambda x: x.transpose(1, 2))
    dense = lambda n: [nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n)]
    patches = [nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), swap()]
    mix_tokens = residual(*norm(8), swap(), *dense(16), swap())
    mix_channels = residual(*norm(8), *dense(8))
    return nn.Sequential(*patches, mix_tokens, mix_channels, Function(lambda x: x.mean(1)), nn.Linear(8, 10))


def mixer_layer_norm():
    return mixer(lambda channels: [nn.LayerNorm(channels)])


def mixer_batch_norm():
    swap = lambda: Function(lambda x: x.transpose(1, 2))
    return mixer(lambda channels: [swap(), nn.BatchNorm1d(channels), swap()])


def vision_transformer():
    class Attention(nn.Module):
        """Multi-head self-attention over tokens."""

        def __init__(self, width, heads):
            super().__init__()
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    patches = [nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Function(lambda x: x.transpose(1, 2))]
    attend = residual(nn.LayerNorm(8), Attention(8, 2))
    dense = residual(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    return nn.Sequential(*patches, attend, dense, Function(lambda x: x.mean(1)), nn.Linear(8, 10))


def rnn_unrolled():
    class Unrolled(nn.Module):
        """A recurrent cell over the steps of a short sequence."""

        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.RNNCell(8, 16), nn.Linear(16, 4)

        def forward(self, x):
            state = x.new_zeros(x.shape[0], 16)
            for step in range(x.shape[1]):
                state = self.cell(x[:, step], state)
            return self.head(state)

    return Unrolled()


def lstm():
    class Last(nn.Module):
        """A classifier of the last state of an LSTM."""

        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    return Last()


def group_norm():
    block = lambda inputs: [nn.Conv2d(inputs, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU()]
    return nn.Sequential(*block(3), *block(8), *classifier(8))


NETWORKS = {
    "logistic_regression": (logistic_regression, IMAGE),
    "mlp": (mlp, IMAGE),
    "mlp_tanh_sigmoid": (mlp_tanh_sigmoid, (32,)),
    "polynomial": (polynomial, IMAGE),
    "lenet_max_pool": (lambda: lenet(nn.MaxPool2d), IMAGE),
    "lenet_average_pool": (lambda: lenet(nn.AvgPool2d), IMAGE),
    "vgg": (vgg, IMAGE),
    "resnet_basic": (resnet_basic, IMAGE),
    "resnet_preactivation": (resnet_preactivation, IMAGE),
    "resnet_bottleneck": (resnet_bottleneck, IMAGE),
    "densenet": (densenet, IMAGE),
    "mobilenet_v2": (mobilenet_v2, IMAGE),
    "mobilenet_v3": (mobilenet_v3, IMAGE),
    "efficientnet": (efficientnet, IMAGE),
    "shufflenet": (shufflenet, IMAGE),
    "squeezenet": (squeezenet, IMAGE),
    "inception": (inception, IMAGE),
    "convnext": (convnext, IMAGE),
    "unet_transposed": (unet_transposed, IMAGE),
    "unet_upsampled": (unet_upsampled, IMAGE),
    "super_resolution": (super_resolution, (1, 8, 8)),
    "autoencoder": (autoencoder, IMAGE),
    "cnn_1d": (cnn_1d, (2, 32)),
    "mixer_layer_norm": (mixer_layer_norm, IMAGE),
    "mixer_batch_norm": (mixer_batch_norm, IMAGE),
    "vision_transformer": (vision_transformer, IMAGE),
    "rnn_unrolled": (rnn_unrolled, (4, 8)),
    "lstm": (lstm, (4, 8)),
    "group_norm": (group_norm, IMAGE),
}
