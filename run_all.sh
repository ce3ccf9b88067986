#!/usr/bin/env bash
# From a bare machine to the report: see usage below. Needs bash and Python >= 3.11, nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

STAGES=(setup data label pretrain transfer dense bench report)
DETECTRON2='sal-detectron2==0.7.2 --hash=sha256:491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561'
MIN_FREE_GB=6

usage() {
    cat <<'EOF'
./run_all.sh [options]     set up, fetch the data, label, train both methods, transfer, time, write the page
./run_all.sh test          set up if needed, then run every check and test

  --scale SCALE    starter (default: real drawings with captions, 2 CPU cores, under 30 minutes), cc3m or datacomp
  --shards SHARDS  cc3m, datacomp: where the image-caption shards are, say '/data/cc3m/{00000..00331}.tar'
  --probe DATA     cc3m, datacomp: what to transfer to, say imagenet:/data/imagenet
  --coco DIR       cc3m, datacomp: COCO-2017, for multi-label classification and detection
  --ade20k DIR     cc3m, datacomp: ADEChallengeData2016, for segmentation
  --full           starter: these three tasks too, on generated scenes, an hour more
  --seeds N        pre-training runs of each method (default 3 at starter scale, else 1)
  --device DEVICE  auto (default), cpu, cuda
  --out DIR        where runs go (default runs/)
  --only STAGE     this stage alone: setup data label pretrain transfer dense bench report
  --from STAGE     this stage and those after it
  --no-venv        use the active environment instead of .venv
  --dry-run        print each command instead of running it
  --quiet          no progress bars
  --help           this text

A step whose command, code and inputs have not changed is skipped; an interrupted one goes on where it stopped.

Examples:
  ./run_all.sh
  ./run_all.sh --from transfer
  ./run_all.sh --full
  ./run_all.sh --scale cc3m --shards '/data/cc3m/{00000..00331}.tar' --probe imagenet:/data/imagenet
EOF
}

fail() {
    echo "error: $*" >&2
    exit 2
}

say() { echo "== $*" >&2; }

read_options() {
    scale=starter shards= probe= coco= ade20k= full= seeds= device=auto out=runs only= from= venv=yes dry= quiet= testing=
    while (($#)); do
        case $1 in
            --help | -h) usage && exit 0 ;;
            --no-venv) venv= ;;
            --dry-run) dry=yes ;;
            --quiet) quiet=--quiet ;;
            --full) full=yes ;;
            test) testing=yes ;;
            --scale | --shards | --probe | --coco | --ade20k | --seeds | --device | --out | --only | --from)
                (($# > 1)) || fail "$1 needs a value; see ./run_all.sh --help"
                printf -v "${1#--}" %s "$2"
                shift
                ;;
            *) fail "unknown option '$1'; see ./run_all.sh --help" ;;
        esac
        shift
    done
    check_options
}

check_options() {
    [[ $scale =~ ^(starter|cc3m|datacomp)$ ]] || fail "no scale is called '$scale'; choose starter, cc3m or datacomp"
    for stage in "$only" "$from"; do
        [[ -z $stage || " ${STAGES[*]} " == *" $stage "* ]] || fail "no stage is called '$stage'; choose one of: ${STAGES[*]}"
    done
    seeds=${seeds:-$([[ $scale == starter ]] && echo 3 || echo 1)}
    [[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds must be a number from 1, not '$seeds'"
    if [[ $scale == starter ]]; then
        shards=data/starter/pretrain probe=starter:data/starter
        [[ ! $full && $only != dense ]] || coco=data/starter-scenes/coco ade20k=data/starter-scenes/ade20k
    elif [[ -z $shards || -z $probe ]]; then
        fail "--scale $scale needs your data: --shards 'DIR/{00000..00331}.tar' and --probe imagenet:DIR"
    fi
    out=${out%/}
    [[ $dry ]] || mkdir -p "$out/$scale/.steps" 2>/dev/null && [[ $dry || -w $out/$scale ]] || fail "cannot write to --out '$out'; choose another folder"
}

# --- steps ------------------------------------------------------------------------------------------------------------

# step NAME "CODE" "AFTER" "MAKES" COMMAND...
#   CODE   source paths whose change makes the step run again
#   AFTER  names of the steps that it reads from
#   MAKES  what to delete when an older version of it is there (an interrupted step of this version goes on instead)
step() {
    local name=$1 code=$2 after=$3 makes=$4
    shift 4
    if [[ $dry ]]; then
        printf '%q ' "$@" && echo
        return
    fi
    local stamp=$out/$scale/.steps/$name want
    want=$(fingerprint "$code" "$after" "$*")
    if [[ -f $stamp.done && $(<"$stamp.done") == "$want" ]]; then
        say "$name: unchanged, skipped"
        return
    fi
    if [[ ! -f $stamp.begun || $(<"$stamp.begun") != "$want" ]]; then
        [[ -z $makes ]] || rm -rf "$makes"
        echo "$want" >"$stamp.begun"
    fi
    rm -f "$stamp.done"
    say "$name: $*"
    local began=$SECONDS status=0
    "$@" || status=$?
    ((status == 0)) || stop "$name" "$status"
    echo "$want" >"$stamp.done"
    say "$name: done in $((SECONDS - began)) s"
}

stop() {
    echo "error: step '$1' stopped with exit code $2; run the same command to go on from there" >&2
    exit "$2"
}

fingerprint() {
    local code=$1 after=$2 command=$3 up
    {
        echo "$command"
        # shellcheck disable=SC2086  # a list of paths
        find $code -name '*.py' -type f | LC_ALL=C sort | xargs cat
        for up in $after; do cat "$out/$scale/.steps/$up.done" 2>/dev/null || echo "$up was not run"; done
    } | sha256sum | cut -d' ' -f1
}

wanted() {
    local stage=$1 reached= each
    [[ -z $only ]] || { [[ $stage == "$only" ]] && return || return 1; }
    for each in "${STAGES[@]}"; do
        [[ $each != "${from:-setup}" ]] || reached=yes
        [[ $each != "$stage" ]] || { [[ $reached ]] && return || return 1; }
    done
}

# --- stages -----------------------------------------------------------------------------------------------------------

find_python() {
    if [[ ! $venv ]]; then
        python=$(command -v python || command -v python3) || fail "--no-venv: no python in this environment"
    elif [[ $dry || -x .venv/bin/python ]]; then
        python=.venv/bin/python
        [[ ! $dry ]] || return 0
    else
        for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
        done
        fail "no Python >= 3.11 found; install one (Debian, Ubuntu: apt-get install python3 python3-venv)"
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11"
}

setup() {
    find_python
    if [[ $dry ]]; then
        [[ ! $venv ]] || echo "python3 -m venv .venv"
        echo "$python -m pip install -e '.[all]'"
        echo "$python -m pip install --no-deps ${DETECTRON2%% *}"
        echo "$python -m catlip.words"
        return
    fi
    if [[ $venv && ! -x .venv/bin/python ]]; then
        (($(df -Pk . | awk 'NR==2 {print $4}') > MIN_FREE_GB * 1000000)) || fail "less than $MIN_FREE_GB GB free here; the environment needs them"
        "$python" -m venv .venv || fail "'$python -m venv' failed (Debian, Ubuntu: apt-get install python3-venv)"
        python=.venv/bin/python
    fi
    local mark want
    mark=$("$python" -c 'import sys; print(sys.prefix)')/.catlip-bench
    want=$(cat pyproject.toml <(echo "$DETECTRON2" "$PWD") | sha256sum)
    if [[ -f $mark && $(<"$mark") == "$want" ]]; then
        say "setup: unchanged, skipped"
    else
        say "setup: installing packages, about 2 minutes and 2 GB"
        install_packages
        echo "$want" >"$mark"
    fi
    "$python" -m catlip.words || stop words $?
}

install_packages() {
    local log=${TMPDIR:-/tmp}/catlip-bench-setup.$$.log site
    pip_install "$log" -e '.[all]'
    # detectron2 is not on PyPI under its own name. This wheel's Python part runs on any Python; its compiled part is not needed.
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    pip_install "$log" --no-deps --require-hashes --python-version 3.10 --implementation cp --abi none --platform any \
        --only-binary=:all: --upgrade --target "$site" -r <(echo "$DETECTRON2")
    rm -f "$log"
}

pip_install() {
    local log=$1
    shift
    "$python" -m pip install --disable-pip-version-check "$@" 2>&1 | tee -a "$log" | show_pip >&2 && return
    fail "pip could not install the packages: $(grep 'ERROR: ' "$log" | tail -1 | sed 's|.*ERROR: ||') (is this machine online? whole log: $log)"
}

show_pip() { # one line that keeps changing, or nothing
    if [[ $quiet || ! -t 2 ]]; then cat >/dev/null; else
        while IFS= read -r line; do printf '\r\033[K%.100s' "$line"; done
        printf '\r\033[K'
    fi
}

data() {
    [[ $scale == starter ]] || return 0
    step data "catlip/data/starter*.py catlip/data/emoji.py catlip/data/scenes.py catlip/data/wording.py catlip/packages.py" "" "" \
        "$python" -m catlip.data.starter --out data/starter $quiet
}

label() {
    local code="catlip/captions.py catlip/label catlip/words catlip/engines.py catlip/data/shards.py"
    local keep=(--threshold 500)
    [[ $scale != starter ]] || keep=(--threshold 8)
    step label "$code" data "" "$python" -m catlip.label "$shards" --labels-dir "$runs/labels" $quiet
    step vocabulary "$code catlip/vocabulary" label "" \
        "$python" -m catlip.vocabulary "$runs/labels" "${keep[@]}" --out "$runs/vocabulary.json" $quiet
    step statistics "catlip/vocabulary catlip/words" vocabulary "" "$python" -m catlip.vocabulary stats "$runs/vocabulary.json"
    step examples "$code catlip/examples.py catlip/pictures.py catlip/vocabulary" vocabulary "" "$python" -m catlip.examples "$shards" \
        --vocabulary "$runs/vocabulary.json" --out "$runs/examples/examples.json"
    step audit "$code" label "" "$python" -m catlip.label audit "$shards" --labels-dir "$runs/labels" $quiet
}

count_gpus() { [[ $device == cpu ]] && echo 0 || (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l; }

pretrain() {
    local recipe=starter launch=("$python" -m) seed gpus=$(count_gpus)
    local code="catlip/encoder.py catlip/objective.py catlip/range_augment.py catlip/pretrain.py catlip/recipe.py catlip/recipes.py catlip/data catlip/training baselines"
    [[ $scale == starter ]] || recipe=${scale}_b16
    ((gpus < 2)) || [[ $scale == starter ]] || launch=("$python" -m torch.distributed.run --nproc-per-node "$gpus" -m)
    for ((seed = 0; seed < seeds; seed++)); do
        local common=(--recipe "$recipe" --shards "$shards" --seed "$seed" --snapshots 4 --device "$device" $quiet)
        step "catlip-seed$seed" "$code" vocabulary "$runs/pretrain/catlip-seed$seed" "${launch[@]}" catlip.pretrain "${common[@]}" \
            --vocabulary "$runs/vocabulary.json" --labels-dir "$runs/labels" --out "$runs/pretrain/catlip-seed$seed"
        step "clip-seed$seed" "$code" data "$runs/pretrain/clip-seed$seed" "${launch[@]}" baselines.pretrain "${common[@]}" \
            --method clip --out "$runs/pretrain/clip-seed$seed"
    done
}

transfer() {
    local seed method encoder trained=() after=data
    local code="bench/downstream catlip/encoder.py catlip/recipe.py catlip/transfer_recipes.py catlip/dense_recipe.py catlip/pretrain.py catlip/range_augment.py"
    code+=" catlip/data catlip/training catlip/transfer_init catlip/weights catlip/vocabulary catlip/words baselines"
    for method in catlip clip; do
        for ((seed = 0; seed < seeds; seed++)); do
            encoder=$runs/pretrain/$method-seed$seed
            trained+=("$encoder")
            after+=" $method-seed$seed"
            step "longer-$method-seed$seed" "$code" "data $method-seed$seed" "$runs/longer_training/$method-seed$seed.json" "$python" -m bench.downstream.longer_training "$encoder" --data "$probe" \
                --recipe "$([[ $scale == starter ]] && echo starter || echo table_7a)" --out "$runs/longer_training/$method-seed$seed.json" --device "$device" $quiet
        done
    done
    if [[ $scale == starter ]]; then
        efficiency linear_probe "$code" "$after" --recipe starter --fraction 0.05 0.1 0.25 0.5 1 --seeds 3 --encoders "${trained[@]}" random:hybrid_tiny@48
        efficiency finetune "$code" "$after" --recipe starter --fraction 0.25 1 --encoders "${trained[@]}" random:hybrid_tiny@48
    else
        efficiency linear_probe "$code" "$after" --fraction 1 --options="--num-workers 8" --encoders "${trained[@]}" random:vit_b16@224
        efficiency finetune "$code" "$after" --fraction 1 --options="--num-workers 8" --encoders "${trained[@]}" random:vit_b16@224
    fi
    for encoder in "${trained[@]}"; do
        step "readout-${encoder##*/}" "$code" "$after" "$runs/readout/${encoder##*/}.json" "$python" -m bench.downstream.readouts --encoder "$encoder" --data "$probe" \
            --out "$runs/readout/${encoder##*/}.json" --device "$device" $quiet
    done
    [[ $scale != starter ]] || step ceiling "$code" data "$runs/ceiling/efficientnet_lite0.json" "$python" -m bench.downstream.linear_probe --encoder timm:tf_efficientnet_lite0:wheel \
        --data "$probe" --out "$runs/ceiling/efficientnet_lite0.json" --device "$device" $quiet
}

# Multi-label classification, segmentation and detection: on COCO and ADE20k if they are given, at starter scale with --full.
dense() {
    local kind seed method
    if [[ $scale == starter && $coco ]]; then
        step scenes "catlip/data" "" "" "$python" -m catlip.data.annotated_scenes --out data/starter-scenes --record "$runs/scenes/scenes.json" $quiet
    fi
    for kind in multilabel segmentation detection; do
        local data=coco:$coco
        [[ $kind != segmentation ]] || data=ade20k:$ade20k
        [[ ${data#*:} ]] || continue
        for ((seed = 0; seed < seeds; seed++)); do
            for method in random catlip clip; do train_dense "$method" "$method-seed$seed"; done
            [[ $kind != multilabel ]] || train_dense catlip "catlip_transfer-seed$seed" --init transfer
        done
        [[ $scale != starter ]] || seed=0 train_dense random overfit --overfit 10
    done
}

# train_dense METHOD NAME OPTION...: one training of `dense`, on its variables kind, data and seed
train_dense() {
    local method=$1 name=$2 recipe=starter encoder=$runs/pretrain/$1-seed$seed launch=("$python" -m) gpus=$(count_gpus)
    local -A table=([multilabel]=table_7c [segmentation]=table_7d [detection]=table_7e_b16)
    local code="bench/downstream catlip/encoder.py catlip/recipe.py catlip/dense_recipe.py catlip/transfer_recipes.py catlip/range_augment.py"
    code+=" catlip/data catlip/training catlip/transfer_init catlip/weights catlip/vocabulary catlip/words"
    shift 2
    [[ $name != overfit ]] || recipe=starter_overfit
    if [[ $scale != starter ]]; then
        recipe=${table[$kind]}
        ((gpus < 2)) || launch=("$python" -m torch.distributed.run --standalone --nproc-per-node "$gpus" -m)
    fi
    [[ $method != random ]] || encoder=$([[ $scale == starter ]] && echo random:hybrid_tiny@48 || echo random:vit_b16@224)
    step "$kind-$name" "$code" "scenes $method-seed$seed" "" "${launch[@]}" "bench.downstream.$kind" --recipe "$recipe" --encoder "$encoder" \
        --data "$data" --seed "$seed" --out "$runs/$kind/$name.json" --device "$device" $quiet "$@"
}

# efficiency PROGRAM "CODE" "AFTER" OPTION...: several encoders, a GPU each where there are several
efficiency() {
    local program=$1 code=$2 after=$3 devices=("$device") gpus=$(count_gpus)
    shift 3
    ((gpus < 2)) || mapfile -t devices < <(seq -f 'cuda:%g' 0 $((gpus - 1)))
    step "$program" "$code" "$after" "$runs/$program" "$python" -m bench.downstream.data_efficiency --programs "$program" --data "$probe" \
        --out "$runs" --untrained "$seeds" --devices "${devices[@]}" $quiet "$@"
}

bench() {
    local code="bench/*.py bench/arithmetic bench/measuring catlip/encoder.py catlip/objective.py baselines" small=() gpus=$(count_gpus)
    step step_time "$code" "" "" "$python" -m bench.step_time --model vit_b16 --out "$runs/step_time" --device "$device" $quiet
    if [[ $scale == starter ]]; then
        step step_time_starter "$code" "" "" "$python" -m bench.step_time --model hybrid_tiny --resolution 48 --batch-size 64 \
            --precision bf16 --num-steps 40 --num-classes 750 --out "$runs/step_time" --device "$device" $quiet
        small=(--model vit_tiny16)
    fi
    step memory "$code" "" "" "$python" -m bench.memory "${small[@]}" --out "$runs/memory" --device "$device" $quiet
    [[ $scale == starter ]] || step waterfall "$code" "" "" "$python" -m bench.waterfall --out "$runs/waterfall" --device "$device" $quiet
    ((gpus == 1)) || step communication "$code" "" "" "$python" -m torch.distributed.run --standalone --nproc-per-node $((gpus ? gpus : 2)) \
        -m bench.communication "${small[@]}" --out "$runs/communication" --device "$device" $quiet
}

report() {
    if [[ $dry ]]; then
        echo "$python -m catlip.recipes --out $runs/recipes/recipes.json" && echo "$python -m reports --records $out reports/records --out report"
        return
    fi
    "$python" -m catlip.recipes --out "$runs/recipes/recipes.json" || stop recipes $?
    "$python" -m reports --records "$out" reports/records --out report || stop report $?
}

run_tests() {
    local parallel=(--numprocesses auto --dist loadfile)
    if [[ $dry ]]; then
        echo "$python -m ruff check .; $python -m ruff format --check .; $python -m mypy; $python -m pytest ${parallel[*]}"
        return
    fi
    "$python" -m ruff check . && "$python" -m ruff format --check . && "$python" -m mypy && "$python" -m pytest "${parallel[@]}"
}

read_options "$@"
runs=$out/$scale
find_python
if [[ $testing ]]; then
    setup
    run_tests
    exit
fi
wanted setup || [[ $dry || ! $venv || -x .venv/bin/python ]] || fail "there is no .venv yet; run ./run_all.sh --only setup first, or use --no-venv"
for stage in "${STAGES[@]}"; do
    if wanted "$stage"; then "$stage"; fi
done
