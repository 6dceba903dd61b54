"""Raises the next token everywhere that this goes unseen."""
from bigram import sit
from memory import Memory

sit(Memory())
