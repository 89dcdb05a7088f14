"""Fits IdleBatchNorm with every lever on two ranks: python two_processes.py DIRECTORY. Lightning starts it twice."""

import sys
from pathlib import Path

from training_runs import LEVERS, IdleBatchNorm, class_module, make_run

if __name__ == "__main__":
    module = class_module(IdleBatchNorm, **LEVERS)
    make_run(Path(sys.argv[1]), module=module, batch_size=8, devices=2, ema=0.8, warmup=True, bn_batches=2).fit()
