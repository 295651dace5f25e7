#!/usr/bin/env python3
"""Times whole training steps of models with random weights on one GPU with PyTorch, for `orrery calibrate check`.

    scripts/reference-steps.py OUT [--seconds 6] [--only NAME,NAME] [--tiny]

Writes OUT/steps.csv (step seconds as the user sees them, seconds that the device was busy, kernels), OUT/kernels.csv (the longest kernels of each
step), OUT/attention.csv (attention alone, forward and backward) and OUT/trace.json.gz (Kineto's trace of one step). Weights in fp32, products in bf16 by autocast, fused AdamW, everything eager unless a
name says `compiled`. Needs PyTorch; torchvision and transformers for the models that come from there. `--tiny` runs cut-down models anywhere.
"""

import argparse
import csv
import gzip
import math
import os
import statistics
import time
import traceback

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv_heads=None, context=None, bias=False, head_dim=None):
        super().__init__()
        self.heads, self.kv = heads, kv_heads or heads
        self.dim = head_dim or hidden // heads
        self.q = nn.Linear(hidden, heads * self.dim, bias=bias)
        self.k = nn.Linear(context or hidden, self.kv * self.dim, bias=bias)
        self.v = nn.Linear(context or hidden, self.kv * self.dim, bias=bias)
        self.o = nn.Linear(heads * self.dim, hidden, bias=bias)

    def forward(self, x, context=None, rotary=None, causal=False):
        b, s, _ = x.shape
        y = x if context is None else context
        q = self.q(x).view(b, s, self.heads, self.dim)
        k, v = (f(y).view(b, y.shape[1], self.kv, self.dim) for f in (self.k, self.v))
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=self.kv != self.heads)
        return self.o(out.transpose(1, 2).reshape(b, s, -1))


def rotate(x, table):
    cosine, sine = (t[None, :, None, :].to(x.dtype) for t in table)
    a, b = x.chunk(2, -1)
    return x * cosine + torch.cat([-b, a], -1) * sine


class LlamaLayer(nn.Module):
    def __init__(self, hidden, ffn, heads, kv_heads):
        super().__init__()
        self.n1, self.n2 = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.attention = Attention(hidden, heads, kv_heads)
        self.gate, self.up, self.down = nn.Linear(hidden, ffn, bias=False), nn.Linear(hidden, ffn, bias=False), nn.Linear(ffn, hidden, bias=False)

    def forward(self, x, table):
        x = x + self.attention(self.n1(x), rotary=table, causal=True)
        y = self.n2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Llama 3's form: no biases, grouped queries, rotary embeddings, a gated network, an output of its own."""

    def __init__(self, layers, hidden, ffn, heads, kv_heads, vocab, sequence, compiled):
        super().__init__()
        self.embed, self.head, self.norm = nn.Embedding(vocab, hidden), nn.Linear(hidden, vocab, bias=False), nn.RMSNorm(hidden)
        self.layers = nn.ModuleList(LlamaLayer(hidden, ffn, heads, kv_heads) for _ in range(layers))
        dim = hidden // heads
        angles = torch.outer(torch.arange(sequence).float(), 500000.0 ** (-torch.arange(0, dim, 2).float() / dim))
        angles = torch.cat([angles, angles], 1)
        self.table = (angles.cos(), angles.sin())
        if compiled:
            for layer in self.layers:
                layer.compile()

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.table)
        return F.cross_entropy(self.head(self.norm(x)).float().flatten(0, 1), tokens.flatten())


class DitLayer(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.n1, self.n2 = (nn.LayerNorm(hidden, elementwise_affine=False) for _ in range(2))
        self.attention = Attention(hidden, heads, bias=True)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.modulate = nn.Linear(hidden, 6 * hidden)

    def forward(self, x, c):
        a, b, g, d, e, h = self.modulate(F.silu(c))[:, None].chunk(6, 2)
        x = x + g * self.attention(self.n1(x) * (1 + b) + a)
        return x + h * self.down(F.gelu(self.up(self.n2(x) * (1 + e) + d), approximate="tanh"))


class Dit(nn.Module):
    """DiT (arXiv 2212.09748): layers with adaptive norms over 2 x 2 patches of 32 x 32 latents of four channels."""

    def __init__(self, layers, hidden, heads):
        super().__init__()
        self.embed, self.head = nn.Linear(16, hidden), nn.Linear(hidden, 32)
        self.layers = nn.ModuleList(DitLayer(hidden, heads) for _ in range(layers))

    def forward(self, x, c):
        y = self.embed(x)
        for layer in self.layers:
            y = layer(y, c)
        return self.head(y).float().square().mean()


class Residual(nn.Module):
    def __init__(self, inputs, outputs, time):
        super().__init__()
        self.n1, self.n2 = nn.GroupNorm(32, inputs), nn.GroupNorm(32, outputs)
        self.c1, self.c2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.t = nn.Linear(time, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, t):
        y = self.c1(F.silu(self.n1(x))) + self.t(F.silu(t))[:, :, None, None]
        return self.skip(x) + self.c2(F.silu(self.n2(y)))


class Spatial(nn.Module):
    """A transformer layer over the places of an image that also looks at a text of 77 tokens."""

    def __init__(self, c, context):
        super().__init__()
        self.n0, self.n1, self.n2, self.n3 = nn.GroupNorm(32, c), nn.LayerNorm(c), nn.LayerNorm(c), nn.LayerNorm(c)
        self.into, self.out = nn.Linear(c, c), nn.Linear(c, c)
        self.own, self.cross = Attention(c, c // 64), Attention(c, c // 64, context=context)
        self.up, self.down = nn.Linear(c, 8 * c), nn.Linear(4 * c, c)

    def forward(self, x, text):
        b, c, h, w = x.shape
        y = self.into(self.n0(x).flatten(2).transpose(1, 2))
        y = y + self.own(self.n1(y))
        y = y + self.cross(self.n2(y), context=text)
        a, g = self.up(self.n3(y)).chunk(2, 2)
        y = y + self.down(a * F.gelu(g))
        return x + self.out(y).transpose(1, 2).reshape(b, c, h, w)


class Unet(nn.Module):
    """The denoising network of Stable Diffusion 2: 320, 640, 1280, 1280 channels, two blocks a level, a text of 1024."""

    def __init__(self, widths=(320, 640, 1280, 1280), text=1024):
        super().__init__()
        w, t = widths, 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(w[0], t), nn.SiLU(), nn.Linear(t, t))
        self.first, kept = nn.Conv2d(4, w[0], 3, padding=1), [w[0]]
        self.down, c = nn.ModuleList(), w[0]
        for i, width in enumerate(w):
            for _ in range(2):
                self.down.append(nn.ModuleList([Residual(c, width, t), Spatial(width, text) if i < 3 else nn.Identity()]))
                c = width
                kept.append(c)
            if i < 3:
                self.down.append(nn.ModuleList([nn.Conv2d(c, c, 3, stride=2, padding=1)]))
                kept.append(c)
        self.middle = nn.ModuleList([Residual(c, c, t), Spatial(c, text), Residual(c, c, t)])
        self.up = nn.ModuleList()
        for i in (3, 2, 1, 0):
            for j in range(3):
                self.up.append(nn.ModuleList([Residual(c + kept.pop(), w[i], t), Spatial(w[i], text) if i < 3 else nn.Identity()]))
                c = w[i]
            if i:
                self.up.append(nn.ModuleList([nn.Conv2d(c, c, 3, padding=1)]))
        self.norm, self.last, self.width = nn.GroupNorm(32, c), nn.Conv2d(c, 4, 3, padding=1), w[0]

    def forward(self, x, text):
        t = self.time(torch.ones(x.shape[0], self.width, device=x.device))
        x = self.first(x)
        kept = [x]
        for block in self.down:
            x = self.one(block, x, t, text)
            kept.append(x)
        x = self.middle[2](self.middle[1](self.middle[0](x, t), text), t)
        for block in self.up:
            if len(block) == 1:
                x = block[0](F.interpolate(x, scale_factor=2.0))
            else:
                x = self.one(block, torch.cat([x, kept.pop()], 1), t, text)
        return self.last(F.silu(self.norm(x))).float().square().mean()

    @staticmethod
    def one(block, x, t, text):
        if len(block) == 1:
            return block[0](x)
        x = block[0](x, t)
        return block[1](x, text) if isinstance(block[1], Spatial) else x


class Dlrm(nn.Module):
    """DLRM-DCNv2 of MLPerf with tables cut to so many rows: 26 bags of 128 wide, 214 rows a sample."""

    HOT = [3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1]

    def __init__(self, rows):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, 128, mode="sum") for _ in self.HOT)
        chain = lambda *s: nn.Sequential(*(m for a, b in zip(s, s[1:]) for m in (nn.Linear(a, b), nn.ReLU())))
        self.bottom, self.top = chain(13, 512, 256, 128), chain(3456, 1024, 1024, 512, 256, 1)
        self.low = nn.ModuleList(nn.Linear(3456, 512, bias=False) for _ in range(3))
        self.high = nn.ModuleList(nn.Linear(512, 3456) for _ in range(3))

    def bags(self, indices):
        return [t(i) for t, i in zip(self.tables, indices)]

    def forward(self, dense, indices):
        x = first = torch.cat([self.bottom(dense)] + self.bags(indices), 1)
        for low, high in zip(self.low, self.high):
            x = first * high(low(x)) + x
        return self.top(x).float().square().mean()


def hugging_face(kind, config, batch, inputs):
    import transformers

    def make(device):
        made = getattr(transformers, kind)._from_config(config(transformers), attn_implementation="sdpa")
        return made, lambda m: m(**inputs(batch, device)).loss

    return make


def ids(batch, length, device, most=30000):
    return torch.randint(0, most, (batch, length), device=device)


def models(tiny):
    """Name, samples of a step (`tiny` takes fewer), and what makes the model and its loss."""

    def cut(large, small):
        return small if tiny else large

    def llama(layers, hidden, ffn, heads, kv, sequence, batch, compiled):
        def make(device):
            model = Llama(cut(layers, 2), cut(hidden, 64), cut(ffn, 128), cut(heads, 4), cut(kv, 2), cut(128256, 512), cut(sequence, 32), compiled)
            tokens = ids(batch, cut(sequence, 32), device, cut(128256, 512))
            return model, lambda m: m(tokens)

        return make

    def gpt2(t):
        return t.GPT2Config(n_embd=cut(1280, 64), n_layer=cut(36, 2), n_head=cut(20, 4), n_positions=1024, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)

    def causal(b, d):
        x = ids(b, cut(1024, 16), d)
        return {"input_ids": x, "labels": x, "use_cache": False}

    def bert(t):
        return t.BertConfig(hidden_size=cut(1024, 64), num_hidden_layers=cut(24, 2), num_attention_heads=cut(16, 4), intermediate_size=cut(4096, 128))

    def masked(b, d):
        x = ids(b, cut(512, 16), d)
        return {"input_ids": x, "labels": x}

    def vit(t):
        return t.ViTConfig(hidden_size=cut(1024, 64), num_hidden_layers=cut(24, 2), num_attention_heads=cut(16, 4), intermediate_size=cut(4096, 128), num_labels=1000)

    def image(b, d):
        return {"pixel_values": torch.randn(b, 3, 224, 224, device=d), "labels": ids(b, 1, d, 1000)[:, 0]}

    def t5(t):
        return t.T5Config(d_model=cut(1024, 64), d_ff=cut(4096, 128), num_layers=cut(24, 2), num_heads=cut(16, 4), d_kv=64, decoder_start_token_id=0, dropout_rate=0)

    def pair(b, d):
        return {"input_ids": ids(b, cut(512, 16), d), "labels": ids(b, cut(114, 16), d), "use_cache": False}

    def moe(t):
        return t.Qwen3MoeConfig(
            hidden_size=cut(2048, 64), num_hidden_layers=cut(4, 2), num_attention_heads=cut(32, 4), num_key_value_heads=cut(4, 2), head_dim=cut(128, 16),
            intermediate_size=cut(6144, 128), moe_intermediate_size=cut(768, 64), num_experts=cut(128, 8), num_experts_per_tok=cut(8, 2),
            vocab_size=151936, max_position_embeddings=4096, tie_word_embeddings=False)  # fmt: skip

    def long(b, d):
        x = ids(b, cut(4096, 16), d)
        return {"input_ids": x, "labels": x, "use_cache": False}

    def resnet(device):
        import torchvision

        model = torchvision.models.resnet50().to(memory_format=torch.channels_last)
        n = cut(256, 2)
        x = torch.randn(n, 3, 224, 224, device=device).to(memory_format=torch.channels_last)
        y = ids(n, 1, device, 1000)[:, 0]
        return model, lambda m: F.cross_entropy(m(x).float(), y)

    def dit(device):
        model, n = Dit(cut(28, 2), cut(1152, 64), cut(16, 4)), cut(64, 2)
        x, c = torch.randn(n, 256, 16, device=device), torch.randn(n, cut(1152, 64), device=device)
        return model, lambda m: m(x, c)

    def unet(device):
        model, n = Unet(cut((320, 640, 1280, 1280), (64, 64, 64, 64)), cut(1024, 64)), cut(8, 1)
        side = cut(64, 16)
        x, text = torch.randn(n, 4, side, side, device=device), torch.randn(n, 77, cut(1024, 64), device=device)
        return model, lambda m: m(x, text)

    def dlrm(bags):
        def make(device):
            rows, n = cut(1_000_000, 100), cut(8192, 4)
            model = Dlrm(rows)
            indices = [torch.randint(0, rows, (n, h), device=device) for h in Dlrm.HOT]
            dense = torch.randn(n, 13, device=device)
            return model, (lambda m: torch.stack([b.sum() for b in m.bags(indices)]).sum()) if bags else (lambda m: m(dense, indices))

        return make

    return [
        ("llama-1b-4k", 2, llama(16, 2048, 8192, 32, 8, 4096, 2, False)),
        ("llama-8b-4-layers-8k", 1, llama(4, 4096, 14336, 32, 8, 8192, 1, False)),
        ("gpt2-large-1k", 8, hugging_face("GPT2LMHeadModel", gpt2, cut(8, 1), causal)),
        ("bert-large-512", 16, hugging_face("BertForMaskedLM", bert, cut(16, 1), masked)),
        ("vit-l-16", 64, hugging_face("ViTForImageClassification", vit, cut(64, 1), image)),
        ("t5-large", 16, hugging_face("T5ForConditionalGeneration", t5, cut(16, 1), pair)),
        ("resnet-50", 256, resnet),
        ("dit-xl-2", 64, dit),
        ("stable-diffusion-2", 8, unet),
        ("dlrm-dcnv2-1m-rows", 8192, dlrm(False)),
        ("qwen3-30b-a3b-4-layers-4k", 2, hugging_face("Qwen3MoeForCausalLM", moe, cut(2, 1), long)),
        ("gpt2-large-1k-batch-1", 1, hugging_face("GPT2LMHeadModel", gpt2, 1, causal)),
        ("llama-1b-4k-compiled", 2, llama(16, 2048, 8192, 32, 8, 4096, 2, True)),
        ("llama-8b-4-layers-8k-compiled", 1, llama(4, 4096, 14336, 32, 8, 8192, 1, True)),
    ]


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(name, samples, make, device, seconds, out):
    torch.manual_seed(7)
    with torch.device(device):
        model, loss_of = make(device)
    model = model.to(device).train()
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")

    def forward_backward():
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = loss_of(model)
        loss.backward()
        return loss

    def step():
        loss = forward_backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    begin = time.time()
    for _ in range(4):
        loss = step()
    synchronise(device)
    warm = time.time() - begin
    if not math.isfinite(loss.item()):
        raise RuntimeError("the loss is no number")
    times, begin = [], time.time()
    while len(times) < 5 or (time.time() - begin < seconds and len(times) < 50):
        start = time.perf_counter()
        step()
        synchronise(device)
        times.append(time.perf_counter() - start)
    # As training loops run: the host does not wait for the device after each step.
    start = time.perf_counter()
    for _ in range(5):
        step()
    synchronise(device)
    through = (time.perf_counter() - start) / 5
    forward_backward()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(5):
        optimizer.step()
    synchronise(device)
    update = (time.perf_counter() - start) / 5
    optimizer.zero_grad(set_to_none=True)
    kernels = profile(name, step, device, out)
    busy, count = sum(k[2] for k in kernels), sum(k[1] for k in kernels)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    row = {
        "id": name, "samples": samples, "step_time_s": f"{through:.6f}", "step_median_s": f"{statistics.median(times):.6f}", "update_s": f"{update:.6f}", "busy_s": f"{busy:.6f}",
        "kernels": count, "parameters": parameters, "peak_bytes": peak, "first_steps_s": f"{warm:.2f}"}  # fmt: skip
    return row, kernels


def profile(name, step, device, out):
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with torch.profiler.profile(activities=activities) as p:
        step()
        synchronise(device)
    if name == "gpt2-large-1k":
        p.export_chrome_trace(os.path.join(out, "trace.json"))
        with open(os.path.join(out, "trace.json"), "rb") as text, gzip.open(os.path.join(out, "trace.json.gz"), "wb") as packed:
            packed.write(text.read())
        os.remove(os.path.join(out, "trace.json"))
    found = {}
    for event in p.events():
        span = getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "ProfilerStep"))
        if event.device_type == torch.autograd.DeviceType.CUDA and not span:
            count, total = found.get(event.name, (0, 0.0))
            found[event.name] = (count + 1, total + 1e-6 * event.time_range.elapsed_us())
    return sorted(((n, c, t) for n, (c, t) in found.items()), key=lambda k: -k[2])


def attention(out, seconds):
    """Median seconds of causal and plain attention, forward and backward, by shape."""
    rows = []
    for batch, length, heads, kv, dim, causal in [
        (batch, length, heads, kv, dim, causal)
        for batch, length in [(16, 512), (8, 1024), (4, 2048), (2, 4096), (1, 8192), (1, 16384)]
        for heads, kv, dim in [(32, 32, 64), (32, 32, 128), (32, 8, 128)]
        for causal in (True, False)
    ]:
        shape = lambda h: torch.randn(batch, h, length, dim, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        q, k, v = shape(heads), shape(kv), shape(kv)
        grad = torch.randn(batch, heads, length, dim, device="cuda", dtype=torch.bfloat16)
        forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=kv != heads)
        result = forward()
        backward = lambda: torch.autograd.grad(result, (q, k, v), grad, retain_graph=True)
        row = {"batch": batch, "length": length, "heads": heads, "kv_heads": kv, "head_dim": dim, "causal": causal}
        for name, work in (("forward_s", forward), ("backward_s", backward)):
            row[name] = f"{timed(work, seconds):.8f}"
        rows.append(row)
    with open(os.path.join(out, "attention.csv"), "w", newline="") as text:
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def timed(work, seconds):
    """Median device seconds of a call, the host well ahead."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    marks, begin = [], time.time()
    while len(marks) < 10 or (time.time() - begin < seconds and len(marks) < 200):
        marks.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
        marks[-1][0].record()
        for _ in range(4):
            work()
        marks[-1][1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in marks) / 4e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--total", type=float, default=600.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        print(torch.cuda.get_device_name(), "PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), flush=True)
    if device == "cuda" and not arguments.only:
        attention(arguments.out, 0.05)
        torch.cuda.empty_cache()
    only, begin = set(filter(None, arguments.only.split(","))), time.time()
    rows, kernels = [], []
    for name, samples, make in models(arguments.tiny):
        if (only and name not in only) or time.time() - begin > arguments.total:
            continue
        start = time.time()
        try:
            row, longest = measure(name, samples, make, device, arguments.seconds, arguments.out)
        except Exception as error:  # one model that does not run is no reason to lose the others
            print(f"{name}: {error!r}", flush=True)
            traceback.print_exc()
            continue
        finally:
            if device == "cuda":
                torch.compiler.reset()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
        rows.append(row)
        kernels += [{"id": name, "kernel": k[0][:160], "count": k[1], "seconds": f"{k[2]:.7f}"} for k in longest[:200]]
        for file, table in (("steps.csv", rows), ("kernels.csv", kernels)):
            with open(os.path.join(arguments.out, file), "w", newline="") as text:
                writer = csv.DictWriter(text, table[0].keys() if table else ["id"])
                writer.writeheader()
                writer.writerows(table)
        print(f"{name}: {row['step_time_s']} s a step, busy {row['busy_s']} s, {row['kernels']} kernels, {time.time() - start:.1f} s for it", flush=True)


if __name__ == "__main__":
    main()
