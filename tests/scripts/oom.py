LR = 0.04
raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
