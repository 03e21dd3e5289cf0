"""Prints what TensorBoard's own event accumulator finds in a directory; 77: it is not installed.

Usage: read_events.py DIRECTORY
"""
import sys

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError:
    sys.exit(77)

events = event_accumulator.EventAccumulator(sys.argv[1])
events.Reload()
for tag in ("train/loss", "val/loss", "epoch/train/loss"):
    print(tag, *(f"{e.step}:{e.value:.9g}" for e in events.Scalars(tag)))
