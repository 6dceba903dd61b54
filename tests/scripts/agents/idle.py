"""Talks, and leaves no change."""
print("IDEA: think about it\n\ntrain.py\n<<<<<<< SEARCH\nMATRIX_LR = 0.04\n=======\nMATRIX_LR = 9\n>>>>>>> REPLACE")
