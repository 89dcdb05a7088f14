"""Fits IdleBatchNorm, and measures it, on two ranks: python two_processes.py DIRECTORY. Lightning starts it twice."""

import sys
from pathlib import Path

from training_runs import fit_measured

if __name__ == "__main__":
    fit_measured(Path(sys.argv[1]), batch_size=8, devices=2)
