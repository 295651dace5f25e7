//! No input may panic, hang or take much memory.

use super::*;
use proptest::prelude::*;

/// Gives the bytes to all readers.
fn all(bytes: &[u8]) {
    let file = [TraceFile { name: "f", rank: 0, bytes }];
    let results =
        [chakra::read(&file, None), chakra::read(&[], Some(("g", bytes))), host_json::read(&file), aicb::read_trace("f", bytes, None)];
    for result in results {
        match result {
            Ok(trace) => drop(trace.check()),
            Err(e) => assert!(e.to_string().contains("; ") && !e.fix().is_empty() && !e.file_name().is_empty(), "{e}"),
        }
    }
    let _ = (astra::read_network("f", bytes), astra::read_system("f", bytes), astra::read_memory("f", bytes));
}

/// Good files to spoil.
fn seeds() -> Vec<Vec<u8>> {
    ["pair.0.et", "pair.groups.json", "host.json", "small.txt", "ring.yml", "system.json"].map(read_fixture).to_vec()
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        all(&bytes);
    }
    #[test]
    fn any_text(text in "\\PC{0,200}") {
        all(text.as_bytes());
    }
    #[test]
    fn spoilt_files(seed in 0usize..6, at in any::<proptest::sample::Index>(), what in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = seeds()[seed].clone();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = what;
        }
        all(&bytes);
    }
    #[test]
    fn swapped_words(seed in 3usize..6, word in 0usize..40, with in "[-0-9e.]{1,12}|NaN|inf|\\[|\"") {
        let text = String::from_utf8(seeds()[seed].clone()).unwrap();
        let words: Vec<&str> = text.split_inclusive([' ', '\n', ',']).collect();
        let out: String = words.iter().enumerate().map(|(i, w)| if i == word { format!("{with} ") } else { (*w).to_owned() }).collect();
        all(out.as_bytes());
    }
}

#[test]
fn huge_numbers_take_no_memory() {
    all(b"HYBRID_TRANSFORMER model_parallel_NPU_group: 1048576 pp: 1048576 ga: 1048576\n1\na -1 1 ALLREDUCE 1 1 NONE 0 1 NONE 0 1\n");
    all(b"HYBRID_TRANSFORMER model_parallel_NPU_group: 1 pp: 1048576 ga: 1 all_gpus: 1048576\n1\na -1 1 ALLREDUCE_EP 1 1 NONE 0 1 NONE 0 1\n");
    all(b"MICRO checkpoints: 1000000000\n1\n");
    all(br#"{"schema": "1.1.1-chakra.0.0.4", "nodes": [{"id": 1, "name": "process_group:init", "inputs": {"values": ["[{\"pg_name\": \"0\", \"group_size\": 4294967295}]"]}}]}"#);
    all(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes());
    let rows = "a -1 1 ALLREDUCE 1 1 ALLREDUCE 1 1 ALLREDUCE 1 1\n".repeat(3000);
    let lists: String = (0..3000).map(|i| format!("{i} ")).collect();
    all(format!("MICRO checkpoints: 1 0 checkpoint_initiates: 3000 {lists}\n3000\n{rows}").as_bytes());
}
