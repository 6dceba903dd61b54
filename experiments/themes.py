"""What an experiment was about, read off the words of its idea. Pure; a guess that is good enough to count by."""

from __future__ import annotations

import re
from functools import lru_cache

OTHER = "other"

# Which knob was turned says more than which part it belongs to: "embedding LR" is a learning rate. So the knobs are
# looked for first, then the parts, then what any edit may say. Of one list the theme that is named earliest wins.
_KNOBS = {
    "code simplification": r"simplif\w*|clean ?up|dead code|unused|refactor\w*|fewer lines|tidy",
    "batch size": r"(device |total )?batch( size)?|(grad|gradient) accum\w*|microbatch",
    "schedule": r"final (lr|learning rate)\w*( frac)?|lr schedule|warm ?up|warm ?down|cool ?down|anneal\w*|decay schedule"
    r"|cosine( decay)?|schedules?|wsd",
    "learning rate": r"lrs?|learning rates?",
    "regularisation": r"wd|weight decay|drop ?out|regulari[sz]\w*|label smoothing|z loss|stochastic depth|noise injection",
    "initialisation": r"inits?|initiali[sz]\w*",
    "optimizer": r"momentum|nesterov|betas?\d?|beta ?\d|ns steps|newton schulz|(gradient |grad )?clip(ping)?|grad norm"
    r"|ema|weight averaging|swa",
    "precision and speed": r"bf16|bfloat16|fp16|fp8|fp32|tf32|float32|mixed precision|precision|compile|fused|kernels?"
    r"|flash attention|flex attention|checkpointing|throughput|faster|speed ?up|prefetch\w*|cuda graphs?",
    "seed": r"(random )?seeds?",
}  # fmt: skip
_PARTS = {
    "optimizer": r"optimi[sz]ers?|adam ?w?|muon|normuon|lion|sgd|shampoo|soap|adafactor|lookahead|sophia",
    "normalisation": r"(rms|layer|batch|group|qk|pre|post)? ?norm(ali[sz]\w*|s)?|rms ?norm|layer ?norm|qk ?norm",
    "embedding": r"(un)?embed\w*|wte|lm head|value embeddings?|ve|weight tying|tied|tying",
    "attention": r"attn|attention|heads?|n heads?|kv( heads?)?|gqa|mqa|mla|qk|qkv|rope|rotary|alibi|s+l|windows?|sliding"
    r"|causal",
    "activation": r"activations?|relu\d?|relu ?2|squared relu|gelu|silu|swi ?glu|ge ?glu|re ?glu|glu|softcap|tanh|mish",
    "depth and width": r"depth|n ?layers?|layers?|width|dim|n embd|d model|model dim|hidden|aspect( ratio)?|mlp|ffn|moe"
    r"|expert\w*|resid\w*|skip( connections?)?|x0|parameters|wider|deeper|narrower|shallower",
    "tokenizer and sequence length": r"tokeni[sz]er\w*|vocab\w*|bpe|seq len|seq(uence)? length|context( length)?|max seq len"
    r"|packing|data ?loader|data order|curriculum",
}  # fmt: skip
_WORDS = {"code simplification": r"remov\w*|delet\w*|drop|without"}


def _compiled(themes: dict[str, str]) -> list[tuple[str, re.Pattern[str]]]:
    return [(theme, re.compile(rf"\b(?:{words})\b")) for theme, words in themes.items()]


_LISTS = [_compiled(themes) for themes in (_KNOBS, _PARTS, _WORDS)]
THEMES = (*dict.fromkeys(name for themes in (_KNOBS, _PARTS) for name in themes), OTHER)
_REMARK = re.compile(r"\([^)]*\)")
_BETWEEN = re.compile(r"[_\-/=+.,:;→]+")


@lru_cache(maxsize=4096)
def theme(description: str) -> str:
    """One of THEMES. What stands in brackets is a remark, and counts only where nothing else says what it is."""
    text = description[:400].lower()
    return _named(_REMARK.sub(" ", text)) or _named(text) or OTHER


def _named(text: str) -> str:
    words = " ".join(_BETWEEN.sub(" ", text).split())
    for patterns in _LISTS:
        found = [(match.start(), name) for name, pattern in patterns if (match := pattern.search(words))]
        if found:
            return min(found, key=lambda place: place[0])[1]
    return ""
