"""Prints control codes, HTML and bytes that are no text; on both of its outputs, and not always whole lines."""
import pathlib
import sys
import time

out = sys.stdout.buffer
out.write(b"\x1b[31mred\x1b[0m \x1b]0;title\x07<script>alert(1)</script>\0\xff\xfe\n")
out.write("\u202egnp.exe\n".encode())
out.write(b"one two thr")
out.flush()
time.sleep(1.2)
out.write(b"ee\n")
out.flush()
print("to the other <img src=x onerror=alert(1)>", file=sys.stderr, flush=True)
train = pathlib.Path("train.py")
train.write_text(train.read_text().replace("0.04", "0.11"))
out.write(b"IDEA: \x1b[1m<b>bold</b>\x1b[0m\0 idea\n")
