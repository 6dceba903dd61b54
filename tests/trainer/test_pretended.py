"""What a program may ask of a card that is not there is answered: torch built for CUDA and torch for the CPU, no driver.

Each line runs under trainer/rehearsal's card, all in one process.
"""

# ruff: noqa: E501 - lines of code as text
from __future__ import annotations

import json
import subprocess
import sys

from trainer.preflight import FOLDER

STEP = "o.zero_grad(); layer(x).sum().backward(); o.step()"
LINES = [
    "assert not torch.cuda.is_current_stream_capturing()",
    "assert torch.backends.cuda.is_built()",
    *(f"o = torch.optim.{name}; {STEP}" for name in (
        "AdamW(layer.parameters())", "AdamW(layer.parameters(), fused=True)", "AdamW(layer.parameters(), foreach=True)",
        "AdamW(layer.parameters(), capturable=True)", "SGD(layer.parameters(), 1.0, momentum=0.9)", "RMSprop(layer.parameters())",
        "NAdam(layer.parameters())", "RAdam(layer.parameters())", "Adagrad(layer.parameters())", "Muon([layer.weight], 1.0)",
    )),
    "s = torch.amp.GradScaler('cuda'); o = torch.optim.SGD(layer.parameters(), 1.0); s.scale(layer(x).sum()).backward(); s.unscale_(o); s.step(o); s.update()",
    "with torch.autocast('cuda', dtype=torch.bfloat16): layer(x)",
    "with torch.random.fork_rng(devices=['cuda']): pass",
    "with torch.random.fork_rng(): pass",
    "torch.cuda.set_rng_state_all(torch.cuda.get_rng_state_all()); torch.cuda.initial_seed(); torch.seed()",
    "torch.cuda.default_generators[0].manual_seed(1)",
    "torch.randn(2, device='cuda', generator=torch.Generator(device='cuda'))",
    "torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum().backward()",
    "torch.Stream('cuda'); torch.Event('cuda'); torch.cuda.ExternalStream(0)",
    "with torch.cuda.stream(torch.cuda.Stream()): torch.cuda.current_stream().wait_stream(torch.cuda.Stream())",
    "x.record_stream(torch.cuda.current_stream())",
    "torch.cuda.Event(enable_timing=True).record()",
    "g = torch.cuda.CUDAGraph()\nwith torch.cuda.graph(g): layer(x)",
    "torch.cuda.graph_pool_handle(); torch.cuda.MemPool()",
    "torch.cuda.make_graphed_callables(layer, (x,))(x)",
    "torch.compiler.cudagraph_mark_step_begin()",
    "torch.zeros(2).pin_memory().to('cuda', non_blocking=True); torch.empty(2, pin_memory=True)",
    "list(torch.utils.data.DataLoader([1, 2, 3], pin_memory=True))",
    "assert torch.cuda.memory_stats()['allocated_bytes.all.peak'] > 0 and torch.cuda.memory_stats()['num_ooms'] == 0",
    "torch.cuda.memory_snapshot(); torch.cuda.list_gpu_processes(); torch.cuda.memory._record_memory_history()",
    "torch.cuda.memory_usage(); torch.cuda.temperature(); torch.cuda.clock_rate(); torch.cuda.power_draw()",
    "torch.cuda.current_blas_handle(); torch.cuda.can_device_access_peer(0, 0); torch.cuda.cudart().cudaProfilerStart()",
    "torch.cuda.set_sync_debug_mode('warn'); torch.cuda.reset_peak_host_memory_stats(); torch.cuda._sleep(1)",
    "assert torch.cuda.get_device_properties(0).L2_cache_size > 0",
    "torch.cuda.nvtx.range_push('a'); torch.cuda.nvtx.range_pop()\nwith torch.cuda.nvtx.range('a'): pass",
    "with torch.autograd.profiler.emit_nvtx(): pass",
    "assert str(torch.accelerator.current_accelerator()) == 'cuda' and torch.accelerator.device_count() == 1",
    "torch.accelerator.synchronize(); torch.accelerator.current_stream(); torch.accelerator.set_device_index(0)",
    "torch.get_device_module('cuda').synchronize()",
    "with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION): torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)",
    "from kernels import get_kernel; assert get_kernel('any').flash_attn_func(h, h, h, causal=True).shape == h.shape",
    "from flash_attn.cute import flash_attn_func; assert flash_attn_func(h, h, h, causal=True)[0].shape == h.shape",
    "from flash_attn.cute.interface import _flash_attn_bwd, _flash_attn_fwd",
    "torch.ops.aten._flash_attention_forward(h, h, h, None, None, 8, 8, 0.0, True, False, window_size_left=1, window_size_right=0)[0].sum().backward()",
]  # fmt: skip
ALL = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
import pretended
import torch
from pretended import Card
pretended._is_installed = lambda _name: True  # kernels and flash-attn-4
warnings.simplefilter("ignore")
card = Card(name="NVIDIA A100", capability=(8, 0), memory_bytes=2**36, vocab_size=512, source="kernels flash_attn.cute", folder="/tmp")
failed = []
with card:
    known = {"torch": torch, "layer": torch.nn.Linear(4, 4).cuda(), "x": torch.zeros(2, 4, device="cuda"),
             "q": torch.zeros(1, 2, 8, 64, device="cuda"),
             "h": torch.zeros(1, 8, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)}
    for line in json.load(sys.stdin):
        try:
            exec(line, dict(known))
        except Exception as error:
            failed.append(f"{line}: {type(error).__name__}: {error}")
print("\\n".join(failed))
"""


def test_no_call_asks_for_a_driver():
    done = subprocess.run(
        [sys.executable, "-c", ALL, str(FOLDER)], input=json.dumps(LINES), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr[-2000:]
