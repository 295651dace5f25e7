//! Job files that measure a whole cluster: nccl-tests over one node, pairs, a leaf and all nodes, perftest between pairs, nvbandwidth,
//! fio and our own probe on every node. All logs land in one folder, which `calibrate import` reads whole.

/// Whose job files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Slurm.
    Slurm,
    /// Kubernetes.
    Kubernetes,
}

/// Operations of nccl-tests with their programs.
const OPERATIONS: [(&str, &str); 5] = [
    ("all_reduce", "all_reduce_perf"),
    ("all_gather", "all_gather_perf"),
    ("reduce_scatter", "reduce_scatter_perf"),
    ("all_to_all", "alltoall_perf"),
    ("broadcast", "broadcast_perf"),
];

/// The files of a scheduler: `nodes` nodes with `gpus` accelerators each, `leaf` nodes under a leaf switch.
#[must_use]
pub fn script(scheduler: Scheduler, nodes: u64, gpus: u64, leaf: u64) -> Vec<(String, String)> {
    let node = ("measure-node.sh".to_owned(), node_script(gpus));
    let pair = ("measure-pair.sh".to_owned(), PAIR.to_owned());
    match scheduler {
        Scheduler::Slurm => vec![("measure.sbatch".into(), slurm(nodes, gpus, leaf)), node, pair],
        Scheduler::Kubernetes => vec![("measure.yaml".into(), kubernetes(nodes, gpus)), node, pair],
    }
}

/// What one node measures of itself.
fn node_script(gpus: u64) -> String {
    let mut collectives = String::new();
    for (op, program) in OPERATIONS {
        collectives.push_str(&format!("run {program} {op} -b 1K -e 4G -f 2 -g {gpus} -n 20 -w 5\n"));
    }
    format!(
        "#!/usr/bin/env bash
# What one node measures of itself. Tools that are not installed are left out and named in SKIPPED.
# Usage: measure-node.sh FOLDER [SCRATCH]
set -u
out=$1/${{SLURMD_NODENAME:-$(hostname -s)}}; scratch=${{2:-${{TMPDIR:-/tmp}}}}
mkdir -p \"$out\"
have() {{ command -v \"$1\" > /dev/null || {{ echo \"$1\" >> \"$out/SKIPPED\"; return 1; }}; }}
# A log gets its name when its tool has ended: an aborted run leaves no half file that looks whole.
run() {{ program=$1; name=$2; shift 2; have \"$program\" && \"$program\" \"$@\" > \"$out/.part\" 2>&1 && mv \"$out/.part\" \"$out/$name.log\"; rm -f \"$out/.part\"; }}

{collectives}run nvbandwidth nvbandwidth
if have fio; then
    file=$scratch/orrery-fio.$$
    trap 'rm -f \"$file\"' EXIT
    for shape in randread:4k:1 randread:4k:4 randread:4k:16 randread:4k:64 read:1m:1 read:1m:8 read:128k:8 randwrite:4k:1 randwrite:4k:16 write:1m:8; do
        IFS=: read -r rw bs depth <<< \"$shape\"
        fio --name=\"$rw-$bs-$depth\" --filename=\"$file\" --size=4G --rw=\"$rw\" --bs=\"$bs\" --iodepth=\"$depth\" --ioengine=io_uring --direct=1 \\
            --runtime=10 --time_based --output-format=json > \"$out/.part\" 2> /dev/null && mv \"$out/.part\" \"$out/fio-$rw-$bs-$depth.json\"
        rm -f \"$out/.part\"
    done
fi
have orrery && orrery calibrate probe --budget 3m --scratch \"$scratch\" --out \"$out/probe.jsonl\"
true
"
    )
}

/// What a pair measures between its two nodes.
const PAIR: &str = "#!/usr/bin/env bash
# RDMA between two nodes, every NIC against the same NIC of the other. Run it on the first node; it starts the server on the second.
# Usage: [NICS=\"mlx5_0 …\"] measure-pair.sh FOLDER PEER [REMOTE-SHELL…]; the remote shell gets the peer and one command line, as ssh does.
set -u
folder=$1; peer=$2; shift 2
remote=(\"${@:-ssh}\")
out=$folder/pairs/${SLURMD_NODENAME:-$(hostname -s)}--$peer
mkdir -p \"$out\"
port=18515
for nic in ${NICS:-$(ls /sys/class/infiniband 2> /dev/null)}; do
    for test in ib_write_bw ib_write_lat; do
        command -v \"$test\" > /dev/null || { echo \"$test\" >> \"$out/SKIPPED\"; continue; }
        \"${remote[@]}\" \"$peer\" \"timeout 180 $test -d $nic -p $port -a\" > /dev/null 2>&1 &
        sleep 1
        timeout 180 \"$test\" -d \"$nic\" -p \"$port\" -a \"$peer\" > \"$out/.part\" 2>&1 && mv \"$out/.part\" \"$out/$test-$nic.log\"
        wait; rm -f \"$out/.part\"; port=$((port + 1))
    done
done
";

fn slurm(nodes: u64, gpus: u64, leaf: u64) -> String {
    let mut spans = vec![2, leaf.min(nodes), nodes];
    spans.sort_unstable();
    spans.dedup();
    spans.retain(|n| *n >= 2 && *n <= nodes);
    let spans: Vec<String> = spans.iter().map(u64::to_string).collect();
    let mut collectives = String::new();
    for (op, program) in OPERATIONS {
        collectives.push_str(&format!(
            "    command -v {program} > /dev/null && srun --mpi=\"${{MPI:-pmix}}\" -N $span --ntasks-per-node={gpus} {program} -b 1K -e 4G -f 2 -g 1 -n 20 -w 5 \\\n        > \"$out/.part\" 2>&1 && mv \"$out/.part\" \"$out/{op}-$span-nodes.log\"\n"
        ));
    }
    format!(
        "#!/usr/bin/env bash
#SBATCH --job-name=orrery-measure
#SBATCH --nodes={nodes}
#SBATCH --gpus-per-node={gpus}
#SBATCH --exclusive
#SBATCH --time=02:00:00
# Measures {nodes} nodes: each by itself, pairs in rounds so that every node meets every distance, a leaf, all. Put partition and account of your site above.
# Afterwards: orrery calibrate import \"$OUT\" --out measurements.jsonl && orrery calibrate fit measurements.jsonl --out cluster.toml
set -u
# Slurm runs a copy of this file: the other scripts lie beside the file that was submitted.
submitted=$(scontrol show job \"$SLURM_JOB_ID\" | sed -n 's/^ *Command=//p')
here=$(cd \"$(dirname \"${{submitted%% *}}\")\" && pwd) || here=$SLURM_SUBMIT_DIR
out=${{OUT:-$PWD/orrery-measurements-$SLURM_JOB_ID}}
mkdir -p \"$out\"
mapfile -t hosts < <(scontrol show hostnames \"$SLURM_JOB_NODELIST\")

# Without MPI: programs that were built with it run for themselves on every node.
srun --mpi=none --ntasks-per-node=1 bash \"$here/measure-node.sh\" \"$out\"

# Rounds of a tournament: in each, every node has one partner, so that pairs do not disturb each other on their NICs.
remote='srun --overlap -N 1 -n 1 -w \"$0\" bash -c \"$1\"'
n=${{#hosts[@]}}; n=$((n / 2 * 2))
for ((round = 1; round < n && round <= 8; round++)); do
    for ((i = 0; i < n / 2; i++)); do
        a=$(( i == 0 ? 0 : (i + round - 1) % (n - 1) + 1 )); b=$(( (n - 1 - i + round - 1) % (n - 1) + 1 ))
        srun -N 1 -n 1 --overlap -w \"${{hosts[$a]}}\" bash \"$here/measure-pair.sh\" \"$out\" \"${{hosts[$b]}}\" bash -c \"$remote\" &
    done
    wait
done

for span in {}; do
{collectives}done
rm -f \"$out/.part\"
echo \"logs: $out\"
",
        spans.join(" ")
    )
}

fn kubernetes(nodes: u64, gpus: u64) -> String {
    format!(
        "# Every node by itself: an Indexed Job of {nodes} pods, spread one a node. Put in your image (nccl-tests, nvbandwidth, fio, orrery), put the scripts into a
# config map and the logs onto a volume that all pods share:
#   kubectl create configmap orrery-measure --from-file=measure-node.sh --from-file=measure-pair.sh
#   kubectl apply -f measure.yaml && kubectl wait --for=condition=complete --timeout=2h job/orrery-measure
#   orrery calibrate import LOGS --out measurements.jsonl
# Collectives over several nodes need the MPI operator: run nccl-tests there with its output on the same volume.
apiVersion: batch/v1
kind: Job
metadata:
  name: orrery-measure
spec:
  completions: {nodes}
  parallelism: {nodes}
  completionMode: Indexed
  backoffLimit: 2
  template:
    metadata:
      labels:
        app: orrery-measure
    spec:
      restartPolicy: Never
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector:
            matchLabels:
              app: orrery-measure
      containers:
        - name: measure
          image: YOUR-IMAGE
          command: [\"bash\", \"/scripts/measure-node.sh\", \"/logs\", \"/scratch\"]
          resources:
            limits:
              nvidia.com/gpu: {gpus}
          volumeMounts:
            - {{ name: scripts, mountPath: /scripts }}
            - {{ name: logs, mountPath: /logs }}
            - {{ name: scratch, mountPath: /scratch }}
      volumes:
        - name: scripts
          configMap: {{ name: orrery-measure }}
        - name: logs
          persistentVolumeClaim: {{ claimName: orrery-measurements }}
        - name: scratch
          emptyDir: {{ sizeLimit: 16Gi }}
"
    )
}
