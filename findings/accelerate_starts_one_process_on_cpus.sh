#!/usr/bin/env bash
# accelerate 1.15: `accelerate launch --cpu --num_processes 2 script.py` starts one process and says nothing of the
# second. The same script under `python -m torch.distributed.run --nproc-per-node 2` runs in two, which accelerate knows
# as MULTI_CPU. So a training that was to take half the time takes all of it, and its batches are half as large.
#
# The launcher leaves distribution to mpirun on processors: it sets variables for the process and runs it.
#
# Guess before the run: two processes, since --num_processes is "the total number of processes to be launched".
# Seen with: accelerate 1.15.0, torch 2.13.0, numpy 2.4.6, Python 3.11.
# Source: a test of a training in two processes whose weights were those of one; issue 2741 of huggingface/accelerate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 accelerate==1.15.0 numpy==2.4.6
cat > "$work/show.py" <<'PY'
import accelerate
import torch

state = accelerate.PartialState(cpu=True)
print(f"process {state.process_index} of {state.num_processes}, {state.distributed_type.value}", flush=True)
if state.is_main_process:
    print(f"accelerate {accelerate.__version__}, torch {torch.__version__}", flush=True)
PY
export OMP_NUM_THREADS=1
cd "$work"
launched=$("$work/venv/bin/accelerate" launch --cpu --num_processes 2 show.py 2>&1)
run=$("$work/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node 2 show.py 2>/dev/null)
printf 'accelerate launch --cpu --num_processes 2:\n%s\ntorch.distributed.run --nproc-per-node 2:\n%s\n' "$launched" "$run"
[ "$(grep -c '^process ' <<<"$launched")" = 1 ]
grep -q '^process 0 of 1' <<<"$launched"
[ "$(grep -c '^process [01] of 2, MULTI_CPU' <<<"$run")" = 2 ]
