"""Edits, and prints a result as Claude Code does with --output-format json."""
import json
import pathlib

train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("0.04", "0.13"))
print(json.dumps({
    "type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.0421,
    "usage": {"input_tokens": 12, "cache_creation_input_tokens": 3000, "cache_read_input_tokens": 9000, "output_tokens": 800},
    "result": "Done.\n\nIDEA: a rate of 0.13\nHYPOTHESIS: **bolder**\nTHEME: optimizer",
}))
