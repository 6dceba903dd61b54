import pytest

from experiments.themes import OTHER, THEMES, theme


@pytest.mark.parametrize(
    ("description", "wanted"),
    [
        ("matrix LR 0.04 to 0.045", "learning rate"),
        ("MATRIX_LR 0.06 → 0.08", "learning rate"),
        ("embedding LR 0.8 to 0.9 (with WD)", "learning rate"),
        ("halve batch 524K to 262K (more steps in 5 min)", "batch size"),
        ("TOTAL_BATCH_SIZE 2**15", "batch size"),
        ("depth 9 aspect_ratio 57 (extra layer dim ~512)", "depth and width"),
        ("MLP hidden 4x to 3.5x", "depth and width"),
        ("Muon ns_steps 5 to 4", "optimizer"),
        ("Lion instead of AdamW", "optimizer"),
        ("FINAL_LR_FRAC 0.05 to 0.03", "schedule"),
        ("cosine warmdown schedule (linear better)", "schedule"),
        ("SSSSL window pattern (5:1 short:long)", "attention"),
        ("RoPE base 200K to 400K", "attention"),
        ("QK-norm with a learnable gain per head", "normalisation"),
        ("RMSNorm before the head", "normalisation"),
        ("SwiGLU instead of relu²", "activation"),
        ("add WD 0.01 to lm_head", "regularisation"),
        ("dropout 0.1", "regularisation"),
        ("VE gate channels 32 to 48", "embedding"),
        ("weight tying (shared embed/unembed, broken)", "embedding"),
        ("depth-dependent init scale 1/sqrt(layer+1)", "initialisation"),
        ("bf16 for the embedding table", "precision and speed"),
        ("flash attention 3", "precision and speed"),
        ("vocab 512 to 1024", "tokenizer and sequence length"),
        ("simplify: one norm function for all", "code simplification"),
        ("remove the second branch", "code simplification"),
        ("random seed 42 to 137", "seed"),
        ("try something else", OTHER),
        ("", OTHER),
        ("\x00😀 مرحبا <b>", OTHER),
        ("layer " * 2000, "depth and width"),
    ],
)
def test_the_theme_of_an_idea(description, wanted):
    assert theme(description) == wanted


def test_a_remark_in_brackets_counts_only_where_nothing_else_does():
    assert theme("softcap 15 to 14 (with a lower LR)") == "activation"
    assert theme("twice as much (batch size)") == "batch size"


def test_parts_of_other_words_are_no_theme():
    assert theme("clearly better") == OTHER  # holds "lr"? no: neither that nor "layer" stands alone
    assert theme("dimension-free idea of the year") == OTHER


def test_all_themes_are_listed():
    assert len(THEMES) == len(set(THEMES)) and THEMES[-1] == OTHER
