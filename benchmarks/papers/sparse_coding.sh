#!/usr/bin/env bash
# Trainings, probe, tables and pictures of docs/papers/sparse-coding.md. Usage: sparse_coding.sh FOLDER PICTURES
# PICTURES is a folder or .zip file of photographs for the patches (BSDS500's training set in the page), SPARSECODE_DATA the place
# of MNIST. The same command resumes what was interrupted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
runs=$1 pictures=$2
all=(--set 'evaluate.validation=[{"type":"scores"},{"type":"code_scale"}]' --set data.n_valid=500
     --set data.n_test=2000 --set 'evaluate.sigmas=[0.5,1,2]' --set optim.groups.encoder.lr=0.001
     --set optim.groups.decoder.lr=0.001 --set train.evaluate_every=0.5 --no-figures)
patches=("${all[@]}" --set "data.images=$pictures" --set data.n_train=20000 --set data.n_test=1000)
weights=model.weight=1x,0.25x,0.5x,2x,4x
three=model.weight=1x,0.5x,2x

sweep() { sparsecode sweep "${@:2}" --over "seed=${seed:-31}" --out "$runs/$1"; }
sweep mnist-linear mnist-sdl mnist-vdl --over "$weights" "${all[@]}" --set train.epochs=6
sweep mnist-free mnist-vdl "${all[@]}" --set train.epochs=6 --set model.variance=null
sweep mnist-vdl-nl mnist-vdl-nl --over "$weights" "${all[@]}" --set train.epochs=6 --set train.evaluate_every=1
sweep mnist-sdl-nl mnist-sdl-nl --over model.weight=1x,2x,4x "${all[@]}" --set train.epochs=6 --set train.evaluate_every=1
sweep mnist-free-nl mnist-vdl-nl "${all[@]}" --set model.decoder.n_hidden=256 --set 'evaluate.sigmas=[]' --set train.epochs=3 --set model.variance=null
sweep patches-linear patches-sdl patches-vdl --over "$three" "${patches[@]}" --set train.evaluate_every=5 --set train.epochs=30
sweep patches-vdl-nl patches-vdl-nl --over "$three" "${patches[@]}" --set train.evaluate_every=5 --set model.decoder.n_hidden=512 --set train.epochs=30
sweep patches-sdl-nl patches-sdl-nl --over "$three" "${patches[@]}" --set train.evaluate_every=5 --set model.decoder.n_hidden=512 --set train.epochs=30
seed=32,33 sweep mnist-seeds mnist-sdl mnist-vdl mnist-vdl-nl "${all[@]}" --set train.epochs=6 --set train.evaluate_every=6

cd "$runs"
sparsecode probe mnist-linear/mnist-sdl_weight=1.96_* mnist-sdl-nl/mnist-sdl-nl_weight=3.92_* mnist-linear/mnist-vdl_weight=7.84_* \
    mnist-vdl-nl/mnist-vdl-nl_weight=3.92_* --references pixels pca --out probe --force
sparsecode probe --sweep mnist-seeds --over model.weight --coders amortised --references --out probe-seeds --force
for swept in mnist-linear mnist-vdl-nl mnist-sdl-nl; do
    sparsecode probe --sweep $swept --over model.weight --labels-per-class 10 100 --coders amortised --references \
        --out "probe-$swept" --force
done
python "$here/sparse_coding.py" mnist-free mnist-free-nl mnist-linear mnist-vdl-nl mnist-sdl-nl mnist-seeds \
    patches-linear patches-vdl-nl patches-sdl-nl --probe probe/probe.json --probe-weights probe-mnist-*/probe.json \
    --probe-seeds probe-seeds/probe.json
