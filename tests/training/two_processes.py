"""Fits the network without BatchNorm on two ranks: python two_processes.py DIRECTORY. Lightning starts it twice."""

import sys
from pathlib import Path

from training_runs import WithoutBatchNorm, class_module, make_run

if __name__ == "__main__":
    make_run(Path(sys.argv[1]), module=class_module(WithoutBatchNorm), batch_size=8, devices=2, ema=0.8).fit()
