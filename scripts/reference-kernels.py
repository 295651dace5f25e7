#!/usr/bin/env python3
"""Times what a training step does beside plain products on one GPU with PyTorch: compute beside communication, experts, 8-bit layers, scans.

    scripts/reference-kernels.py OUT [SECTION ...]      # default: overlap experts flash casts scans layers

overlap.csv: products, attention and element-wise kernels while another kernel holds N multiprocessors as those of NCCL do (needs CuPy).
experts.csv: products of experts: one grouped kernel, a kernel an expert on four streams, one plain product of as many rows; moves of rows.
casts.csv: a linear layer in 8 bit, forward and backward, compiled (needs torchao). scans.csv: chunked scans (needs fla-core, mamba_ssm's Triton files).
SCANS=mamba2,delta,lightning,kda names the scans that are wanted. layers.csv: whole layers as torchtitan wraps them (FSDP2 over one rank, checkpoints, 8 bit). Times are medians, seconds of the device.
"""

import csv
import functools
import importlib.util
import itertools
import os
import statistics
import sys
import time
import traceback

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BF16 = torch.bfloat16


def timed(call, seconds=0.01, repeats=3):
    """Median seconds of a call that is one kernel or few, back to back in a stream."""
    call(), call()
    torch.cuda.synchronize()

    def batch(n):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(n):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / n

    n = max(3, min(200, int(seconds / max(batch(3), 1e-6))))
    return statistics.median(batch(n) for _ in range(repeats))


def kernels(call):
    """Seconds, launches and names of the kernels of a call, as the profiler counts them."""
    from torch.profiler import ProfilerActivity

    for _ in range(3):
        call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as p:
        for _ in range(3):
            call()
        torch.cuda.synchronize()
    found = [(e.key, e.count / 3, e.self_device_time_total / 3e6) for e in p.key_averages() if e.self_device_time_total > 0]
    found.sort(key=lambda k: -k[2])
    return sum(k[2] for k in found), sum(k[1] for k in found), found


class Table:
    """Rows of one file, written as they come."""

    def __init__(self, out, name, columns):
        self.file = open(os.path.join(out, name), "w", newline="")
        self.writer = csv.DictWriter(self.file, columns, lineterminator="\n")
        self.writer.writeheader()

    def row(self, **values):
        self.writer.writerow({k: f"{v:.4e}" if isinstance(v, float) else v for k, v in values.items()})
        self.file.flush()


HOLD = r"""
extern "C" __global__ void __launch_bounds__(640, 1)
hold(const float4* from, float4* into, long long count, long long nanoseconds, int copies, unsigned long long* moved) {
    unsigned long long start, now, bytes = 0;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    const long long stride = (long long)gridDim.x * blockDim.x;
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    do {
        if (copies) {
            float4 kept[16];
            for (int u = 0; u < 16; u++) kept[u] = from[(i + u * stride) % count];
            for (int u = 0; u < 16; u++) into[(i + u * stride) % count] = kept[u];
            i += 16 * stride;
            bytes += 16 * 32;
        } else {
            __nanosleep(500);
        }
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
    atomicAdd(moved, bytes);
}
"""


class Holder:
    """A kernel of 640 threads a block, one block a multiprocessor, that leaves room for no other (NCCL's have as many threads and registers)."""

    def __init__(self):
        import cupy

        self.cupy = cupy
        self.kernel = cupy.RawKernel(HOLD, "hold")
        self.shared = 96 * 1024
        self.kernel.max_dynamic_shared_size_bytes = self.shared
        self.count = 1 << 26
        self.a, self.b = cupy.zeros(self.count * 4, cupy.float32), cupy.zeros(self.count * 4, cupy.float32)
        self.moved = cupy.zeros(1, cupy.uint64)
        self.stream = torch.cuda.Stream(priority=-1)

    def beside(self, call, blocks, copies, once):
        """Seconds of a call while so many blocks are held, bytes a second that they move."""
        n = max(3, min(100, int(0.008 / once)))
        nanoseconds = int(1e9 * (2.6 * n * once + 0.004))
        self.moved.fill(0)
        self.cupy.cuda.runtime.deviceSynchronize()
        end_of_hold = torch.cuda.Event(enable_timing=True)
        if blocks:
            with self.cupy.cuda.ExternalStream(self.stream.cuda_stream):
                self.kernel((blocks,), (640,), (self.a, self.b, self.count, nanoseconds, int(copies), self.moved), shared_mem=self.shared)
            end_of_hold.record(self.stream)
            time.sleep(0.001)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(n):
            call()
        end.record()
        torch.cuda.synchronize()
        if blocks and end.elapsed_time(end_of_hold) <= 0:
            return None, 0.0
        return start.elapsed_time(end) / 1e3 / n, float(self.moved.get()[0]) / (nanoseconds / 1e9)


def compute(tokens):
    """Name, FLOPs, bytes and call of the kernels of layers."""
    new = functools.partial(torch.randn, device="cuda", dtype=BF16)
    for n, k in [(6144, 2048), (2048, 2048), (8192, 2048), (2048, 8192), (6144, 4096), (4096, 4096), (14336, 4096), (4096, 14336), (10240, 8192), (28672, 8192), (8192, 28672)]:
        x, w, g = new(tokens, k), new(n, k), new(tokens, n)
        flops, size = 2.0 * tokens * n * k, 2.0 * (tokens * n + tokens * k + n * k)
        yield f"forward {tokens} {n} {k}", flops, size, lambda x=x, w=w: F.linear(x, w)
        yield f"input {tokens} {n} {k}", flops, size, lambda g=g, w=w: g @ w
        yield f"weight {tokens} {n} {k}", flops, size, lambda g=g, x=x: g.t() @ x


def others():
    new = functools.partial(torch.randn, device="cuda", dtype=BF16)
    one = torch.ones((), device="cuda")
    for m, n, k in [(8192, 4096, 4096), (8192, 14336, 4096), (16384, 8192, 28672)]:
        a, b = (new(r, k).to(torch.float8_e4m3fn) for r in (m, n))
        yield f"fp8 {m} {n} {k}", 2.0 * m * n * k, float(m * k + n * k + 2 * m * n), lambda a=a, b=b: torch._scaled_mm(a, b.t(), one, one, out_dtype=BF16)
    for batch, length in [(4, 2048), (1, 8192)]:
        for name, backend in [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)]:
            q, k, v, g = (new(batch, 32, length, 128) for _ in range(4))
            q, k, v = (t.requires_grad_() for t in (q, k, v))
            with sdpa_kernel(backend):
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            flops = 2.0 * 2 * batch * 32 * length * length / 2 * 128

            def forward(q=q, k=k, v=v, backend=backend):
                with torch.no_grad(), sdpa_kernel(backend):
                    F.scaled_dot_product_attention(q, k, v, is_causal=True)

            yield f"{name} forward {batch} {length}", flops, 4.0 * q.numel() * 2, forward
            yield f"{name} backward {batch} {length}", 2.5 * flops, 8.0 * q.numel() * 2, lambda y=y, q=q, k=k, v=v, g=g: torch.autograd.grad(y, (q, k, v), g, retain_graph=True)
    x, y, z = (new(16384, 8192) for _ in range(3))
    weight = new(8192)
    yield "add", 0.0, 6.0 * x.numel(), lambda: torch.add(x, y, out=z)
    yield "copy", 0.0, 4.0 * x.numel(), lambda: z.copy_(x)
    yield "rms norm", 0.0, 4.0 * x.numel(), lambda: F.rms_norm(x, (8192,), weight)


def overlap(out):
    holder = Holder()
    print("registers of the holder", holder.kernel.num_regs, flush=True)
    table = Table(out, "overlap.csv", ["call", "flops", "bytes", "blocks", "copies", "seconds", "held_bytes_per_s", "kernel"])
    for name, flops, size, call in itertools.chain(compute(4096), compute(16384), others()):
        once = timed(call)
        kernel = kernels(call)[2][0][0]
        for copies, counts in ((False, (0, 8, 16, 20, 24, 32)), (True, (16,))):
            for blocks in counts:
                found = [holder.beside(call, blocks, copies, once) for _ in range(2)]
                good = [f for f in found if f[0] is not None]
                if good:
                    seconds, moved = statistics.median(f[0] for f in good), statistics.median(f[1] for f in good)
                    table.row(call=name, flops=flops, bytes=size, blocks=blocks, copies=int(copies), seconds=seconds, held_bytes_per_s=moved, kernel=kernel[:60])


def experts(out):
    table = Table(out, "experts.csv", ["model", "pass", "experts", "rows", "n", "k", "loads", "grouped_s", "streams_s", "plain_s"])
    streams = [torch.cuda.Stream() for _ in range(4)]
    shapes = [("qwen3-30b", 16, 32768, 2048, 768), ("qwen3-30b", 16, 131072, 2048, 768), ("qwen3-235b", 4, 32768, 4096, 1536), ("qwen3-235b", 16, 32768, 4096, 1536),
              ("deepseek-v3", 4, 32768, 7168, 2048), ("deepseek-v3", 32, 65536, 7168, 2048), ("gpt-oss", 2, 65536, 2880, 2880), ("gpt-oss", 16, 65536, 2880, 2880), ("mixtral", 8, 16384, 4096, 14336)]  # fmt: skip
    for model, count, rows, hidden, ffn in shapes:
        for loads in ("even", "uneven"):
            weights = torch.ones(count) if loads == "even" else torch.rand(count, generator=torch.Generator().manual_seed(7)) + 0.5
            sizes = [int(rows * w / weights.sum()) // 16 * 16 for w in weights]
            sizes[-1] += (rows - sum(sizes)) // 16 * 16
            ends = torch.tensor(sizes).cumsum(0).to(torch.int32).cuda()
            total, cuts = sum(sizes), [0] + torch.tensor(sizes).cumsum(0).tolist()
            for n, k in ((2 * ffn, hidden), (hidden, ffn)):
                x, w, g = (torch.randn(s, device="cuda", dtype=BF16) for s in ((total, k), (count, n, k), (total, n)))
                y, dx, dw = torch.empty_like(g), torch.empty_like(x), torch.empty_like(w)
                wt = w.transpose(1, 2)
                parts = list(zip(cuts, cuts[1:]))
                plain_x, plain_g = x[: total // 16 * 16], g[: total // 16 * 16]
                passes = {
                    "forward": (lambda: torch._grouped_mm(x, wt, ends), lambda i, a, b: torch.mm(x[a:b], wt[i], out=y[a:b]), lambda: plain_x @ wt[0]),
                    "input": (lambda: torch._grouped_mm(g, w, ends), lambda i, a, b: torch.mm(g[a:b], w[i], out=dx[a:b]), lambda: plain_g @ w[0]),
                    "weight": (lambda: torch._grouped_mm(g.t(), x, ends), lambda i, a, b: torch.mm(g[a:b].t(), x[a:b], out=dw[i]), lambda: plain_g.t() @ plain_x),
                }  # fmt: skip
                for which, (grouped, one, plain) in passes.items():
                    def spread(one=one):
                        main = torch.cuda.current_stream()
                        for s in streams:
                            s.wait_stream(main)
                        for i, (a, b) in enumerate(parts):
                            with torch.cuda.stream(streams[i % 4]):
                                one(i, a, b)
                        for s in streams:
                            main.wait_stream(s)

                    spread()
                    torch.cuda.synchronize()
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        spread()
                    row = {"grouped_s": float("nan")}
                    try:
                        row["grouped_s"] = timed(grouped)
                    except Exception as e:
                        print(model, which, "grouped:", str(e)[:200])
                    table.row(model=model, experts=count, rows=total, n=n, k=k, loads=loads, streams_s=timed(graph.replay), plain_s=timed(plain), **{"pass": which}, **row)
    moves = Table(out, "moves.csv", ["call", "rows", "hidden", "bytes", "seconds"])
    for tokens, top, hidden in [(4096, 8, 4096), (16384, 8, 2048), (8192, 4, 2880)]:
        x = torch.randn(tokens, hidden, device="cuda", dtype=BF16)
        order = torch.randperm(tokens * top, device="cuda")
        rows = torch.randn(tokens * top, hidden, device="cuda", dtype=BF16)
        token = order // top
        moves.row(call="gather", rows=tokens * top, hidden=hidden, bytes=4.0 * rows.numel(), seconds=timed(lambda: x.index_select(0, token)))
        moves.row(call="scatter", rows=tokens * top, hidden=hidden, bytes=4.0 * rows.numel(), seconds=timed(lambda: torch.zeros_like(x).index_add_(0, token, rows)))


def flash(out):
    """Attention by the second generation of flash kernels, which does not use what Hopper brought."""
    table = Table(out, "flash.csv", ["batch", "length", "heads", "kv_heads", "head_dim", "causal", "forward_s", "backward_s"])
    for batch, length in [(16, 512), (8, 1024), (4, 2048), (2, 4096), (1, 8192), (1, 16384), (1, 32768)]:
        for heads, kv, dim in [(32, 32, 64), (32, 32, 128), (32, 8, 128)]:
            for causal in (True, False):
                new = lambda h: torch.randn(batch, h, length, dim, device="cuda", dtype=BF16, requires_grad=True)
                q, k, v = new(heads), new(kv), new(kv)
                g = torch.randn_like(q)

                def forward():
                    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=kv != heads)

                y = forward()
                table.row(batch=batch, length=length, heads=heads, kv_heads=kv, head_dim=dim, causal=causal, forward_s=timed(forward), backward_s=timed(lambda: torch.autograd.grad(y, (q, k, v), g, retain_graph=True)))


def casts(out):
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    table = Table(out, "casts.csv", ["tokens", "n", "k", "narrow", "seconds", "launches", "kernel", "kernel_s", "kernel_launches"])
    for tokens, n, k in [(98304, 512, 4096), (98304, 4096, 512), (98304, 1792, 4096), (98304, 4096, 1792), (16384, 14336, 4096), (16384, 4096, 14336)]:
        for narrow in (False, True):
            torch._dynamo.reset()
            layer = torch.nn.Sequential(torch.nn.Linear(k, n, bias=False, device="cuda", dtype=BF16))
            if narrow:
                convert_to_float8_training(layer, config=Float8LinearConfig())
                layer.compile()
            x, g = torch.randn(tokens, k, device="cuda", dtype=BF16, requires_grad=True), torch.randn(tokens, n, device="cuda", dtype=BF16)
            leaves = [x, *layer.parameters()]
            seconds, launches, found = kernels(lambda: torch.autograd.grad(layer(x), leaves, g))
            for name, count, own in found[:12]:
                table.row(tokens=tokens, n=n, k=k, narrow=int(narrow), seconds=seconds, launches=launches, kernel=name[:90], kernel_s=own, kernel_launches=count)


def scan_calls():
    """Name, sizes and call of chunked scans, forward or with backward."""
    new = functools.partial(torch.randn, device="cuda", dtype=BF16)
    for name, batch, length, heads, value, state, groups in [
        ("mamba2 nemotron-h-8b", 1, 8192, 128, 64, 128, 8), ("mamba2 nemotron-h-8b", 4, 4096, 128, 64, 128, 8), ("mamba2 nemotron-3-nano", 2, 8192, 64, 64, 128, 8),
        ("mamba2 mamba2-2.7b", 4, 2048, 80, 64, 128, 1), ("mamba2 tensor-8", 1, 8192, 16, 64, 128, 1)]:  # fmt: skip

        def ssd(batch=batch, length=length, heads=heads, value=value, state=state, groups=groups):
            from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

            x, dt = new(batch, length, heads, value), new(batch, length, heads)
            b, c = new(batch, length, groups, state), new(batch, length, groups, state)
            a = -torch.rand(heads, device="cuda") - 0.5
            d, bias = torch.ones(heads, device="cuda"), torch.zeros(heads, device="cuda")
            leaves = [t.requires_grad_() for t in (x, dt, a, b, c, d)]
            return leaves, lambda: mamba_chunk_scan_combined(x, dt, a, b, c, 256, D=d, dt_bias=bias, dt_softplus=True)

        yield name, (batch, length, heads, value, state, groups), ssd
    for name, batch, length, heads, value, state, groups in [
        ("delta qwen3-next", 1, 8192, 32, 128, 128, 16), ("delta qwen3-next", 4, 4096, 32, 128, 128, 16), ("delta tensor-4", 1, 8192, 8, 128, 128, 4),
        ("lightning minimax-01", 1, 8192, 64, 128, 128, 64), ("lightning minimax-01", 1, 32768, 64, 128, 128, 64), ("kda kimi-linear", 1, 8192, 32, 128, 128, 32)]:  # fmt: skip

        def fla(name=name, batch=batch, length=length, heads=heads, value=value, state=state, groups=groups):
            v = new(batch, length, heads, value).requires_grad_()
            q, k = (F.normalize(new(batch, length, heads, state), dim=-1).requires_grad_() for _ in range(2))
            if name.startswith("delta"):
                import fla.ops.common.chunk_o as chunk_o
                from fla.ops.gated_delta_rule import chunk_gated_delta_rule

                chunk_o.TRITON_ABOVE_3_7_1 = True  # older compilers get the gradient of gates wrong on Hopper: times are what is asked here
                g, beta = (-torch.rand(batch, length, heads, device="cuda")).requires_grad_(), torch.rand(batch, length, heads, device="cuda", dtype=BF16).requires_grad_()
                return [q, k, v, g, beta], lambda: chunk_gated_delta_rule(q, k, v, g, beta, use_qk_l2norm_in_kernel=True)[0]
            if name.startswith("kda"):
                from fla.ops.kda import chunk_kda

                g, beta = (-torch.rand(batch, length, heads, state, device="cuda")).requires_grad_(), torch.rand(batch, length, heads, device="cuda", dtype=BF16).requires_grad_()
                return [q, k, v, g, beta], lambda: chunk_kda(q, k, v, g, beta, use_qk_l2norm_in_kernel=True)[0]
            from fla.ops.lightning_attn import chunk_lightning_attn

            return [q, k, v], lambda: chunk_lightning_attn(q, k, v, 3, 32)[0]

        yield name, (batch, length, heads, value, state, groups), fla


def wanted_scans():
    only = os.environ.get("SCANS")
    return [c for c in scan_calls() if not only or c[0].split()[0] in only.split(",")]


def warm(name):
    """Compiles every candidate of a scan's kernels into the cache on disk, without timing them."""
    import triton.runtime.autotuner as tuner

    def once(call, quantiles=None):
        call()
        return [1.0, 1.0, 1.0]

    tuner.Autotuner.do_bench = property(lambda self: once)
    for found, _, make in wanted_scans():
        if found == name:
            leaves, call = make()
            y = call()
            torch.autograd.grad(y, leaves, torch.randn_like(y), allow_unused=True)
            break


def scans(out):
    import subprocess

    names = list(dict.fromkeys(n for n, _, _ in wanted_scans()))
    begin = time.time()
    for p in [subprocess.Popen([sys.executable, __file__, out, "warm", n], env={**os.environ, "FLA_CACHE_RESULTS": "0"}) for n in names]:
        try:
            p.wait(max(1, 100 - (time.time() - begin)))
        except subprocess.TimeoutExpired:
            p.kill()
    print(f"candidates compiled in {time.time() - begin:.0f} s", flush=True)
    table = Table(out, "scans.csv", ["scan", "batch", "length", "heads", "value", "state", "groups", "pass", "seconds", "launches", "kernels"])
    for name, sizes, make in wanted_scans():
        try:
            leaves, call = make()
            y = call()
            g = torch.randn_like(y)
            for which, run in (("forward", lambda: call()), ("backward", lambda: torch.autograd.grad(y, leaves, g, retain_graph=True, allow_unused=True))):
                seconds, launches, found = kernels(run)
                text = "; ".join(f"{n[:50]} {c:g} {s:.3e}" for n, c, s in found[:14])
                table.row(scan=name, **dict(zip(("batch", "length", "heads", "value", "state", "groups"), sizes)), seconds=seconds, launches=launches, kernels=text, **{"pass": which})
        except Exception:
            traceback.print_exc(limit=-2)
        print(name, sizes, f"{time.time() - begin:.0f} s", flush=True)


def layers(out):
    """Four layers of Llama 3 8B as torchtitan wraps them."""
    import torch.distributed as dist
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    spec = importlib.util.spec_from_file_location("steps", os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference-steps.py"))
    steps = importlib.util.module_from_spec(spec)
    sys.modules["steps"] = steps
    spec.loader.exec_module(steps)
    dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore())
    torch.cuda.set_device(0)
    table = Table(out, "layers.csv", ["step", "length", "batch", "recompute", "narrow", "step_s", "busy_s", "launches", "kernel", "kernel_s", "kernel_launches"])
    for name, length, batch, recompute, narrow in [("bf16-full", 8192, 2, True, False), ("bf16", 8192, 2, False, False), ("fp8", 8192, 2, False, True)]:
        try:
            torch._dynamo.reset()
            with torch.device("cuda"):
                model = steps.Llama(4, 4096, 14336, 32, 8, 128256, length, False)
            model.table = tuple(t.to(BF16) for t in model.table)
            if narrow:
                from torchao.float8 import Float8LinearConfig, convert_to_float8_training

                convert_to_float8_training(model, config=Float8LinearConfig(enable_fsdp_float8_all_gather=True), module_filter_fn=lambda m, f: "head" not in f)
            for i, layer in enumerate(model.layers):
                layer = checkpoint_wrapper(layer, preserve_rng_state=False) if recompute else layer
                layer.compile()
                model.layers[i] = fully_shard(layer, mp_policy=MixedPrecisionPolicy(param_dtype=BF16, reduce_dtype=torch.float32))
            fully_shard(model, mp_policy=MixedPrecisionPolicy(param_dtype=BF16, reduce_dtype=torch.float32))
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
            tokens = torch.randint(0, 128256, (batch, length), device="cuda")

            def step():
                with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                    model(tokens).backward()
                optimizer.step()
                optimizer.zero_grad()

            for _ in range(3):
                step()
            torch.cuda.synchronize()
            begin = time.time()
            for _ in range(6):
                step()
            torch.cuda.synchronize()
            seconds = (time.time() - begin) / 6
            busy, launches, found = kernels(step)
            for kernel, count, own in found[:40]:
                table.row(step=name, length=length, batch=batch, recompute=int(recompute), narrow=int(narrow), step_s=seconds, busy_s=busy, launches=launches, kernel=kernel[:110], kernel_s=own, kernel_launches=count)
            print(name, length, f"{seconds * 1e3:.1f} ms, busy {busy * 1e3:.1f} ms", flush=True)
            del model, optimizer
            torch.cuda.empty_cache()
        except Exception:
            traceback.print_exc(limit=-3)


def main():
    out, wanted = sys.argv[1], sys.argv[2:] or ["overlap", "experts", "flash", "casts", "scans", "layers"]
    os.makedirs(out, exist_ok=True)
    if wanted[0] == "warm":
        return warm(wanted[1])
    for name in wanted:
        begin = time.time()
        try:
            {"overlap": overlap, "experts": experts, "flash": flash, "casts": casts, "scans": scans, "layers": layers}[name](out)
        except Exception:
            traceback.print_exc()
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)


main()
