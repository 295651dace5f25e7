//! Job files for schedulers: each runs the shards of a planned folder; a shard that is run again goes on where it was.

use super::store::Manifest;
use std::path::Path;

/// Tasks of an array at most: sites keep Slurm's default limit of 1,001.
const TASKS: u64 = 1000;

/// Job files by name, for a sweep file and the folder of its results as absolute paths.
#[must_use]
pub fn job_files(manifest: &Manifest, sweep: &Path, folder: &Path) -> Vec<(String, String)> {
    let (sweep, out) = (quoted(sweep), quoted(folder));
    vec![
        ("slurm.sh".into(), slurm(manifest, &sweep, &out)),
        ("kubernetes.yaml".into(), kubernetes(manifest)),
        ("hyperqueue.sh".into(), hyperqueue(manifest, &sweep, &out)),
    ]
}

/// A path for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn slurm(manifest: &Manifest, sweep: &str, out: &str) -> String {
    let tasks = manifest.shards.min(TASKS);
    let work = if manifest.shards <= TASKS {
        format!("\"${{ORRERY:-orrery}}\" sweep run {sweep} --out {out} --resume\n")
    } else {
        format!(
            "for ((k = SLURM_ARRAY_TASK_ID; k < {0}; k += {tasks})); do\n    \"${{ORRERY:-orrery}}\" sweep run {sweep} --out {out} --resume --shard \"$k/{0}\"\ndone\n",
            manifest.shards
        )
    };
    format!(
        "#!/bin/bash\n# {} shards of a sweep as a Slurm array: sbatch slurm.sh, then: orrery sweep collect {out}\n# The folder has to be on a file system that all nodes share. A task that is requeued goes on where it was.\n\
         #SBATCH --job-name=orrery-sweep\n#SBATCH --array=0-{}\n#SBATCH --cpus-per-task=1\n#SBATCH --requeue\n#SBATCH --open-mode=append\nset -euo pipefail\n\
         export RAYON_NUM_THREADS=\"${{SLURM_CPUS_PER_TASK:-1}}\"\n{work}",
        manifest.shards,
        tasks - 1
    )
}

fn hyperqueue(manifest: &Manifest, sweep: &str, out: &str) -> String {
    format!(
        "#!/bin/bash\n# {} shards of a sweep as a HyperQueue job: with a server and workers running, bash hyperqueue.sh\n# HyperQueue runs the task of a worker that died on another one, where it goes on.\n\
         set -euo pipefail\n\"${{HQ:-hq}}\" submit --name orrery-sweep --array 0-{} --cpus 1 --crash-limit 100 --env RAYON_NUM_THREADS=1 --stdout none --stderr none --wait -- \\\n    \
         \"${{ORRERY:-orrery}}\" sweep run {sweep} --out {out} --resume\n\"${{ORRERY:-orrery}}\" sweep collect {out}\n",
        manifest.shards,
        manifest.shards - 1
    )
}

fn kubernetes(manifest: &Manifest) -> String {
    format!(
        "# {0} shards of a sweep as an Indexed Job: put in the image and the volume claim of your site, kubectl apply -f kubernetes.yaml,\n\
         # then: orrery sweep collect /sweep/results. The claim (ReadWriteMany) holds the sweep with its base and topologies, and the\n\
         # planned folder as /sweep/results. A pod that is replaced goes on where the first one was.\n\
         apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: orrery-sweep\nspec:\n  completionMode: Indexed\n  completions: {0}\n  parallelism: {1}\n  backoffLimitPerIndex: 6\n  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n        - name: orrery\n          image: YOUR-REGISTRY/orrery:{2}\n          command: [\"orrery\", \"sweep\", \"run\", \"/sweep/sweep.toml\", \"--out\", \"/sweep/results\", \"--resume\"]\n          \
         env:\n            - name: RAYON_NUM_THREADS\n              value: \"1\"\n          resources:\n            requests:\n              cpu: \"1\"\n          volumeMounts:\n            - name: sweep\n              mountPath: /sweep\n      \
         volumes:\n        - name: sweep\n          persistentVolumeClaim:\n            claimName: YOUR-CLAIM\n",
        manifest.shards,
        manifest.shards.min(TASKS),
        manifest.orrery
    )
}
