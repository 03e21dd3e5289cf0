"""What is measured on a GPU, once for both sides: cases, their floors, and PyTorch's variants.

A case is a subject of bench_kernels at one shape. Its bytes and flops are what no implementation of
forward and backward can do without: each tensor read or written once. PyTorch gets the same inputs,
bit for bit, and may do each case in every way that its users have; the fastest one counts.

A variant is a name, a function that makes a turn, and whether the turn may be captured. What it
makes is its own: a turn that is timed later works on the same state as when it was tried.
"""
import math
from collections import namedtuple

# tiny: a shape for machines without a GPU; gate: the largest error that still is the same result,
# relative to the tensor's largest element.
Case = namedtuple("Case", "name subject dtype dims tiny bytes flops gate")

SIZE = {"F32": 4, "BF16": 2, "F16": 2}
GATE = {"F32": 1e-4, "BF16": 2e-2, "F16": 4e-3}


def case(name, subject, dtype, dims, tiny):
    size, d = SIZE[dtype], dims
    elements = math.prod(d[:2])
    flops = 0
    if subject == "copy":
        moved = 2 * d[0]
    elif subject == "adamw":  # the norm reads the gradient; p, m, v are read and written, g read
        moved = 32 * d[0]
    elif subject == "layer_norm":  # x, y; gy, x, gx
        moved = 5 * elements * size
    elif subject == "softmax_cross_entropy":  # logits read, gradient written, in one step
        moved = 2 * elements * size
    elif subject == "linear":  # forward x, w, y; backward gy, x, w, gx, gw
        moved = size * (3 * d[0] * d[2] + 3 * d[1] * d[2] + 2 * d[0] * d[1])
        flops = 6 * math.prod(d)
    elif subject == "linear_gelu":  # forward x, w, h, y; backward h, gy, x, w, gx, gw
        moved = size * (3 * d[0] * d[2] + 3 * d[1] * d[2] + 4 * d[0] * d[1])
        flops = 6 * math.prod(d)
    else:  # conv_bn_relu: x, w, conv, conv, y; gy, y, conv, g, g, w, x, gx, gw
        image, out = d[0] * d[1] * d[2] ** 2, d[0] * d[3] * d[2] ** 2
        weights = d[3] * d[1] * d[4] ** 2
        moved = size * (3 * image + 3 * weights + 8 * out)
        flops = 6 * out * d[1] * d[4] ** 2
    return Case(name, subject, dtype, dims, tiny, moved, flops, GATE[dtype])


def conv_cases():
    shapes = [(256, 64, 56, 64, 3), (256, 256, 56, 64, 1), (256, 128, 28, 128, 3),
              (256, 256, 14, 256, 3), (256, 512, 7, 512, 3)]
    return [case(f"{k}x{k} {c}->{out} at {s}, {dtype}", "conv_bn_relu", dtype, (n, c, s, out, k),
                 (2, 4, 8, 4, k)) for dtype in ("F16", "BF16") for n, c, s, out, k in shapes]


GROUPS = {
    "copy": [case("1 GiB", "copy", "F32", (1 << 30,), (1 << 20,))],
    "adamw": [case("124 M", "adamw", "F32", (124439808,), (10007,)),
              case("1.5 B", "adamw", "F32", (1557611200,), (20011,))],
    "layer_norm": [case("65536 x 768, BF16", "layer_norm", "BF16", (65536, 768), (9, 24)),
                   case("16384 x 1600, BF16", "layer_norm", "BF16", (16384, 1600), (7, 1032)),
                   case("16384 x 4096, BF16", "layer_norm", "BF16", (16384, 4096), (5, 264)),
                   case("65536 x 768, F32", "layer_norm", "F32", (65536, 768), (5, 13))],
    "softmax_cross_entropy": [
        case("8192 x 50304, BF16", "softmax_cross_entropy", "BF16", (8192, 50304), (6, 104)),
        case("8192 x 50304, F32", "softmax_cross_entropy", "F32", (8192, 50304), (6, 101))],
    "linear": [  # GPT-2's products: qkv, projection, both of the MLP, a part of the classifier
        case("65536 x 2304 x 768, BF16", "linear", "BF16", (65536, 2304, 768), (8, 24, 16)),
        case("65536 x 768 x 768, BF16", "linear", "BF16", (65536, 768, 768), (8, 16, 16)),
        case("65536 x 3072 x 768, BF16", "linear", "BF16", (65536, 3072, 768), (8, 32, 16)),
        case("65536 x 768 x 3072, BF16", "linear", "BF16", (65536, 768, 3072), (8, 16, 32)),
        case("8192 x 50304 x 768, BF16", "linear", "BF16", (8192, 50304, 768), (8, 40, 16)),
        case("8192 x 8192 x 8192, F16", "linear", "F16", (8192, 8192, 8192), (16, 16, 16))],
    "linear_gelu": [
        case("65536 x 3072 x 768, BF16", "linear_gelu", "BF16", (65536, 3072, 768), (8, 24, 16)),
        case("16384 x 6400 x 1600, BF16", "linear_gelu", "BF16", (16384, 6400, 1600), (4, 16, 8)),
        case("65536 x 3072 x 768, F16", "linear_gelu", "F16", (65536, 3072, 768), (8, 24, 16))],
    "conv_bn_relu": conv_cases(),
}


def numbers(torch, device, shape, salt, dtype, scale=1.0, offset=0.0, below=None):
    """The inputs of bench_kernels: a function of position and salt."""
    count = math.prod(shape)
    out = torch.empty(count, dtype=torch.int32 if below else dtype, device=device)
    for start in range(0, count, 1 << 24):
        stop = min(start + (1 << 24), count)
        h = torch.arange(start, stop, dtype=torch.int64, device=device) * 747796405
        h = (h + salt * 2891336453) & 0xFFFFFFFF
        h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
        h = h ^ (h >> 13)
        if below:
            out[start:stop] = (h % below).to(torch.int32)
        else:
            value = (((h >> 8) & 0xFFFF) - 32768).to(torch.float32) / 32768
            out[start:stop] = (value * scale + offset).to(dtype)
    return out.reshape(shape)


class Differentiable:
    """y = forward(inputs), and the gradients of the named inputs from gy."""

    def __init__(self, forward, inputs, names, gy):
        self.forward, self.inputs, self.names, self.gy = forward, inputs, names, gy
        for name in names:
            inputs[name].requires_grad_(True)

    def turn(self, torch, forward):
        y = forward(**self.inputs)
        wanted = [self.inputs[name] for name in self.names]
        return (y, *torch.autograd.grad(y, wanted, self.gy))

    def sampled(self, torch):
        outputs = self.turn(torch, self.forward)
        return dict(zip(["y" if self.gy.dim() else "loss"] + list(self.names.values()), outputs))

    def variants(self, torch):
        yield "eager", lambda: lambda: self.turn(torch, self.forward), True
        if not hasattr(torch, "compile") or not self.gy.is_cuda:
            return

        def compiled(mode):
            forward = torch.compile(self.forward, dynamic=False, fullgraph=True, mode=mode)
            return lambda: self.turn(torch, forward)
        for mode in ("default", "max-autotune-no-cudagraphs"):
            yield f"compiled, {mode}", lambda m=mode: compiled(m), True
        yield "compiled, reduce-overhead", lambda: compiled("reduce-overhead"), False


def build_differentiable(torch, device, c, dims):
    F = torch.nn.functional
    dtype = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[c.dtype]

    def make(shape, salt, scale=1.0, offset=0.0):
        return numbers(torch, device, shape, salt, dtype, scale, offset)
    if c.subject == "layer_norm":
        rows, size = dims
        inputs = {"x": make(dims, 1), "w": make((size,), 2), "b": make((size,), 3)}
        return Differentiable(lambda x, w, b: F.layer_norm(x, (size,), w, b, 1e-5), inputs,
                              {"x": "gx", "w": "gw", "b": "gb"}, make(dims, 4))
    if c.subject == "softmax_cross_entropy":
        target = numbers(torch, device, dims[:1], 2, dtype, below=dims[1]).long()
        seed = torch.tensor(1.0 / dims[0], dtype=dtype, device=device)
        return Differentiable(lambda z: F.cross_entropy(z, target, reduction="sum"),
                              {"z": make(dims, 1)}, {"z": "gz"}, seed)
    if c.subject in ("linear", "linear_gelu"):
        rows, out, size = dims
        inputs = {"x": make((rows, size), 1), "w": make((out, size), 2, 0.0625),
                  "b": make((out,), 3)}
        forward = F.linear
        if c.subject == "linear_gelu":
            def forward(x, w, b):
                return F.gelu(F.linear(x, w, b), approximate="tanh")
        return Differentiable(lambda x, w, b: forward(x, w, b), inputs,
                              {"x": "gx", "w": "gw", "b": "gb"}, make((rows, out), 4))
    n, channels, side, out, window = dims
    layout = torch.channels_last
    inputs = {"x": make((n, channels, side, side), 1).to(memory_format=layout),
              "w": make((out, channels, window, window), 2, 0.0625).to(memory_format=layout)}
    # All but the images in F32, on both sides: what cuDNN, and autocast with it, wants.
    g, b, mean, variance = (numbers(torch, device, (out,), salt, torch.float32, 0.5, 1.0)
                            for salt in (5, 6, 7, 8))
    inputs |= {"g": g, "b": b}

    def forward(x, w, g, b):
        y = F.conv2d(x, w, padding=window // 2)
        return F.relu(F.batch_norm(y, mean, variance, g, b, True, 0.1, 1e-5))
    return Differentiable(forward, inputs, {"x": "gx", "w": "gw", "g": "gw_norm", "b": "gb_norm"},
                          make((n, out, side, side), 4).to(memory_format=layout))


class Copy:
    """What moves memory and computes nothing."""

    def __init__(self, torch, device, dims):
        self.source = torch.zeros(dims, dtype=torch.uint8, device=device)
        self.to = torch.empty_like(self.source)

    def sampled(self, torch):
        return {}

    def variants(self, torch):
        yield "copy_", lambda: lambda: self.to.copy_(self.source), True


class AdamW:
    """As 148 tensors, like GPT-2's list, clipped by their norm."""

    def __init__(self, torch, device, dims):
        self.torch, self.device, self.dims = torch, device, dims

    def turn(self, clip=None, compiled=False, **options):
        return AdamWTurn(self.torch, self.device, self.dims, options, clip or {}, compiled)

    def sampled(self, torch):
        turn = self.turn()
        turn()
        state = [turn.optimizer.state[p] for p in turn.parts]
        return {"parameters": turn.whole,
                **{ours: torch.cat([s[name] for s in state])
                   for ours, name in (("m", "exp_avg"), ("v", "exp_avg_sq"))}}

    def variants(self, torch):
        cuda, foreach = self.device.type == "cuda", {"foreach": True}
        yield "foreach", lambda: self.turn(**foreach if cuda else {}), not cuda
        if not cuda:
            return
        yield "fused", lambda: self.turn(foreach, fused=True, capturable=True), True
        yield ("compiled", lambda: self.turn(foreach, compiled=True, foreach=True, capturable=True),
               False)


class AdamWTurn:
    """Parameters, gradients and an optimizer that no other turn has."""

    def __init__(self, torch, device, dims, options, clip, compiled):
        self.torch, self.clip, count = torch, clip, dims[0]
        self.run = torch.compile(self.once) if compiled else self.once
        self.whole = numbers(torch, device, dims, 1, torch.float32)
        gradient = numbers(torch, device, dims, 2, torch.float32)
        step = -(-count // 148)
        self.parts = [torch.nn.Parameter(self.whole[i:i + step]) for i in range(0, count, step)]
        for i, p in enumerate(self.parts):
            p.grad = gradient[i * step:i * step + step]
        self.optimizer = torch.optim.AdamW(self.parts, lr=1e-3, betas=(0.9, 0.95), eps=1e-8,
                                           weight_decay=0.1, **options)

    def __call__(self):
        self.run()

    def once(self):
        self.torch.nn.utils.clip_grad_norm_(self.parts, 1.0, **self.clip)
        self.optimizer.step()


def build(torch, device, c, dims):
    if c.subject == "copy":
        return Copy(torch, device, dims)
    if c.subject == "adamw":
        return AdamW(torch, device, dims)
    return build_differentiable(torch, device, c, dims)
